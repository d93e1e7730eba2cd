package org.rlhf4j.cli;

import picocli.CommandLine.Option;

/** The flags that every command has which computes. */
public final class CommonOptions extends OutputOptions {
  @Option(
      names = "--device",
      paramLabel = "cpu|cuda[:N]|auto",
      defaultValue = "auto",
      description =
          "where to compute; auto: the first GPU, else the CPU (default: ${DEFAULT-VALUE})")
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
}
