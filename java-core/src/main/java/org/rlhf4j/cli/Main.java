package org.rlhf4j.cli;

import java.io.PrintWriter;
import java.util.concurrent.Callable;
import org.rlhf4j.InputException;
import picocli.CommandLine;
import picocli.CommandLine.Command;

/**
 * The launcher's commands, and what the process ends with: 0 done, 1 the run failed, 2 the input
 * was wrong, 130 interrupted.
 */
@Command(
    name = "rlhf4j",
    description = "Aligns language models on the JVM: supervised fine-tuning, reward model, PPO.",
    mixinStandardHelpOptions = true,
    versionProvider = Version.class,
    synopsisSubcommandLabel = "COMMAND",
    subcommands = {
      DemoCommand.class,
      SftCommand.class,
      RewardCommand.class,
      PpoCommand.class,
      GenerateCommand.class,
      LogprobsCommand.class,
      ScoreCommand.class,
      TokenizeCommand.class,
      ConvertCommand.class,
      InspectCommand.class,
      ReportCommand.class,
      PlanCommand.class,
      DoctorCommand.class
    })
public final class Main implements Callable<Integer> {
  static final int FAILED = 1;
  static final int WRONG_INPUT = 2;
  static final int INTERRUPTED = 130;

  @Override
  public Integer call() {
    CommandLine.usage(this, System.err);
    return WRONG_INPUT;
  }

  public static void main(String[] args) {
    System.exit(run(args));
  }

  /**
   * Runs a command line in this process and tells its exit code: what tests and embedding programs
   * call.
   */
  public static int run(String... args) {
    CommandLine line = new CommandLine(new Main());
    line.setErr(new PrintWriter(System.err, true));
    line.setParameterExceptionHandler(
        (e, arguments) -> {
          System.err.println("rlhf4j: " + e.getMessage());
          CommandLine.UnmatchedArgumentException.printSuggestions(
              e, new PrintWriter(System.err, true));
          return WRONG_INPUT;
        });
    line.setExecutionExceptionHandler((e, commandLine, result) -> report(e, args));
    line.setExitCodeExceptionMapper(e -> FAILED);
    try {
      return line.execute(args);
    } catch (StackOverflowError | OutOfMemoryError e) {
      return report(e, args);
    }
  }

  private static int report(Throwable e, String[] args) {
    if (debug(args)) {
      e.printStackTrace();
    }
    if (e instanceof InputException) {
      System.err.println("rlhf4j: " + e.getMessage());
      return WRONG_INPUT;
    }
    String message = e.getMessage() == null ? e.getClass().getSimpleName() : e.getMessage();
    System.err.println("rlhf4j: failed: " + message);
    return FAILED;
  }

  private static boolean debug(String[] args) {
    for (int i = 0; i < args.length; i++) {
      if (args[i].equals("--log-level=debug")
          || (args[i].equals("debug") && i > 0 && args[i - 1].equals("--log-level"))) {
        return true;
      }
    }
    return false;
  }
}
