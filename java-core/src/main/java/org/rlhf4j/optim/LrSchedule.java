package org.rlhf4j.optim;

/**
 * The learning rate of a step, as transformers' schedulers give it: warm-up from 0 over {@code
 * warmupSteps}, then constant, linear to 0, or half a cosine to 0 at {@code totalSteps}.
 */
public record LrSchedule(Type type, double peak, int warmupSteps, int totalSteps) {
  /** The shape after the warm-up. */
  public enum Type {
    CONSTANT,
    LINEAR,
    COSINE
  }

  /** The rate for update number {@code step}, counted from 0. */
  public double at(int step) {
    if (step < warmupSteps) {
      return peak * step / Math.max(1, warmupSteps);
    }
    double progress = (double) (step - warmupSteps) / Math.max(1, totalSteps - warmupSteps);
    return switch (type) {
      case CONSTANT -> peak;
      case LINEAR -> peak * Math.max(0, 1 - progress);
      case COSINE -> peak * Math.max(0, 0.5 * (1 + Math.cos(Math.PI * Math.min(1, progress))));
    };
  }
}
