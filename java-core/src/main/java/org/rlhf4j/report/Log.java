package org.rlhf4j.report;

import java.util.List;
import java.util.Locale;
import org.rlhf4j.InputException;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Logging of the command line: SLF4J to standard error, above the progress line. A library leaves
 * it to its host.
 */
public final class Log {
  private static final List<String> LEVELS =
      List.of("trace", "debug", "info", "warn", "error", "off");

  private Log() {}

  /**
   * Sets the level of everything that is logged from now on. To be called before the first logger
   * is made.
   *
   * @param level trace, debug, info, warn, error or off; null: info, or warn where quiet
   * @throws InputException if there is no such level
   */
  public static void configure(String level, boolean quiet) {
    String chosen = level == null ? (quiet ? "warn" : "info") : level.toLowerCase(Locale.ROOT);
    if (!LEVELS.contains(chosen)) {
      throw new InputException(
          "--log-level: expected " + String.join("|", LEVELS) + ", found '" + level + "'");
    }
    String prefix = "org.slf4j.simpleLogger.";
    // Libraries speak up only when something is wrong, unless everything is wanted.
    boolean all = chosen.equals("trace") || chosen.equals("off") || chosen.equals("error");
    System.setProperty(prefix + "defaultLogLevel", all ? chosen : "warn");
    System.setProperty(prefix + "log.org.rlhf4j", chosen);
    System.setProperty(prefix + "logFile", "System.err");
    System.setProperty(prefix + "cacheOutputStream", "false");
    System.setProperty(prefix + "showThreadName", "false");
    System.setProperty(prefix + "showLogName", chosen.equals("debug") || all ? "true" : "false");
    System.setProperty(prefix + "levelInBrackets", "true");
    System.setErr(Terminal.stderr().printer());
  }

  /** The logger of {@code type}; call {@link #configure} first. */
  public static Logger of(Class<?> type) {
    return LoggerFactory.getLogger(type);
  }
}
