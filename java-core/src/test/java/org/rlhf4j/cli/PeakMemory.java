package org.rlhf4j.cli;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;

/** The launcher's command line in a process of its own, which says at its end what it took. */
final class PeakMemory {
  /** Before the number of bytes, in a line on standard error. */
  static final String LINE = "peak memory in bytes: ";

  private PeakMemory() {}

  public static void main(String[] arguments) throws IOException {
    int code = Main.run(arguments);
    for (String line : Files.readAllLines(Path.of("/proc/self/status"))) {
      if (line.startsWith("VmHWM:")) {
        System.err.println(LINE + 1024 * Long.parseLong(line.replaceAll("\\D", "")));
      }
    }
    System.exit(code);
  }
}
