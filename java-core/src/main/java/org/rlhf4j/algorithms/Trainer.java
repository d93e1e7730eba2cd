package org.rlhf4j.algorithms;

import java.io.IOException;
import java.nio.file.Path;
import java.util.Map;
import org.rlhf4j.config.PpoConfig;
import org.rlhf4j.config.StageConfig;

/**
 * A training stage that goes step by step: an optimizer step, or a PPO batch. Whoever drives it (a
 * command, the demo, an embedding program) writes metrics and checkpoints between the steps.
 */
public interface Trainer extends AutoCloseable {
  /** Steps made so far. */
  long stepsDone();

  /** Steps that the configuration and the data ask for. */
  long totalSteps();

  /** Rows of one step. */
  static int rowsPerStep(StageConfig config) {
    int accumulation =
        config instanceof PpoConfig ? 1 : config.training().gradientAccumulationSteps();
    return config.training().batchSize() * accumulation;
  }

  /** Steps of a run over {@code rows} rows, before there is a trainer. */
  static long steps(StageConfig config, int rows) {
    return Settings.totalSteps(
        config.training(), new BatchOrder(rows, rowsPerStep(config), 0, false));
  }

  /** Makes the next step and tells its metrics, by the names that COMMANDS lists. */
  Map<String, Object> step();

  /** Writes everything that an exact resume needs to {@code folder}, which exists and is empty. */
  void save(Path folder) throws IOException;

  /** Continues from what {@link #save} wrote. */
  void load(Path folder) throws IOException;

  /** Makes all steps that are left. */
  default void train(java.util.function.Consumer<Map<String, Object>> listener) {
    while (stepsDone() < totalSteps()) {
      listener.accept(step());
    }
  }

  @Override
  void close();
}
