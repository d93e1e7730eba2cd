package org.rlhf4j.cli;

import org.rlhf4j.report.Log;
import picocli.CommandLine.Option;

/** The flags that every command has. */
public final class CommonOptions {
  @Option(
      names = "--device",
      paramLabel = "cpu|cuda[:N]|auto",
      defaultValue = "auto",
      description = "where to compute (default: ${DEFAULT-VALUE})")
  String device = "auto";

  @Option(
      names = "--threads",
      paramLabel = "N",
      defaultValue = "0",
      description = "CPU threads; 0: all cores (default: ${DEFAULT-VALUE})")
  int threads;

  @Option(
      names = "--dtype",
      paramLabel = "f32|bf16|auto",
      defaultValue = "auto",
      description =
          "of weights and activations; auto: f32 for f32 checkpoints, else bf16 (default: ${DEFAULT-VALUE})")
  String dtype = "auto";

  @Option(
      names = "--seed",
      paramLabel = "N",
      defaultValue = "42",
      description = "(default: ${DEFAULT-VALUE})")
  long seed = 42;

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
