package org.rlhf4j.report;

import java.io.ByteArrayOutputStream;
import java.io.OutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;

/**
 * Standard error with one live line at its end. Whatever else is printed goes above the live line,
 * which is then drawn again. Safe for use by several threads.
 */
final class Terminal {
  /**
   * Set by the launcher to the width of the terminal that standard error is, or to 0 where it is
   * none.
   */
  static final String COLUMNS = "rlhf4j.columns";

  private static Terminal stderr;

  private final PrintStream out;
  private final int columns;
  private final PrintStream printer =
      new PrintStream(new AboveLiveLine(), true, StandardCharsets.UTF_8);
  private String live = "";

  /**
   * @param columns 0: not a terminal; there is no live line then
   */
  Terminal(PrintStream out, int columns) {
    this.out = out;
    this.columns = columns;
  }

  /** The terminal of standard error as it is now: an embedding program may have redirected it. */
  static synchronized Terminal stderr() {
    if (stderr == null || System.err != stderr.printer && System.err != stderr.out) {
      stderr = new Terminal(System.err, columns());
    }
    return stderr;
  }

  /** Without the launcher's word, Java knows only of standard input and output together. */
  private static int columns() {
    Integer told = Integer.getInteger(COLUMNS);
    if (told != null) {
      return told;
    }
    boolean terminal = System.console() != null && System.console().isTerminal();
    return terminal ? 80 : 0;
  }

  boolean hasLiveLine() {
    return columns > 0;
  }

  /** The longest live line; the last column stays free, or some terminals wrap. */
  int width() {
    return Math.max(20, columns - 1);
  }

  /** A stream that prints above the live line. */
  PrintStream printer() {
    return printer;
  }

  /** Replaces the live line; an empty one removes it. */
  synchronized void live(String line) {
    erase();
    live = line;
    out.print(live);
    out.flush();
  }

  /** Lets the live line stand as an ordinary one. */
  synchronized void keepLive() {
    if (!live.isEmpty()) {
      out.println();
      live = "";
    }
    out.flush();
  }

  synchronized void line(String line) {
    erase();
    out.println(line);
    out.print(live);
    out.flush();
  }

  private void erase() {
    if (!live.isEmpty()) {
      out.print("\r\033[K");
    }
  }

  /** Collects bytes up to the end of a line; a line that is not ended appears when it is. */
  private final class AboveLiveLine extends OutputStream {
    private final ByteArrayOutputStream pending = new ByteArrayOutputStream();

    @Override
    public void write(int b) {
      synchronized (Terminal.this) {
        if (b == '\n') {
          String text = pending.toString(StandardCharsets.UTF_8);
          pending.reset();
          line(text.endsWith("\r") ? text.substring(0, text.length() - 1) : text);
        } else {
          pending.write(b);
        }
      }
    }

    /** Without a live line, the part of a line that has come so far may be seen. */
    @Override
    public void flush() {
      synchronized (Terminal.this) {
        if (live.isEmpty() && pending.size() > 0) {
          out.print(pending.toString(StandardCharsets.UTF_8));
          out.flush();
          pending.reset();
        }
      }
    }

    @Override
    public void write(byte[] bytes, int from, int length) {
      synchronized (Terminal.this) {
        for (int i = from; i < from + length; i++) {
          write(bytes[i]);
        }
      }
    }
  }
}
