package org.rlhf4j.cli;

import org.rlhf4j.report.Log;
import picocli.CommandLine.Option;

/** What a command says, and where; and whether it may use the network. */
class OutputOptions {
  @Option(
      names = "--json",
      description = "one JSON document on standard output, and nothing else there")
  boolean json;

  @Option(names = "--quiet", description = "no progress")
  boolean quiet;

  @Option(
      names = "--log-level",
      paramLabel = "error|warn|info|debug",
      description = "debug also prints stack traces (default: info, with --quiet warn)")
  private String logLevel;

  @Option(names = "--offline", description = Models.OFFLINE)
  private boolean offline;

  /**
   * To be called first by every command: sets the log's level, or refuses one that does not exist,
   * and how models are found.
   */
  void configureLog() {
    Log.configure(logLevel, quiet);
    Models.configure(offline, quiet);
  }
}
