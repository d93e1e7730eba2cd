package org.rlhf4j.algorithms;

import org.rlhf4j.config.TrainingConfig;
import org.rlhf4j.optim.AdamW;
import org.rlhf4j.optim.LrSchedule;

/** What the trainers read from the configuration's common part. */
final class Settings {
  private Settings() {}

  static AdamW.Hyper hyper(TrainingConfig c) {
    return new AdamW.Hyper(
        (float) c.beta1(),
        (float) c.beta2(),
        (float) c.eps(),
        (float) c.weightDecay(),
        (float) c.maxGradNorm());
  }

  /** Optimizer steps of the whole run. */
  static long totalSteps(TrainingConfig c, BatchOrder order) {
    return c.maxSteps() > 0
        ? c.maxSteps()
        : (long) Math.ceil(c.numTrainEpochs() * order.stepsPerEpoch());
  }

  static LrSchedule schedule(TrainingConfig c, long totalSteps) {
    return new LrSchedule(
        LrSchedule.Type.valueOf(c.lrSchedulerType().toUpperCase(java.util.Locale.ROOT)),
        c.learningRate(),
        c.warmupSteps(),
        (int) totalSteps);
  }
}
