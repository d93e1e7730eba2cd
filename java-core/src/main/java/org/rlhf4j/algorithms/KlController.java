package org.rlhf4j.algorithms;

/** β, the weight of the KL penalty: fixed, or adapted towards a target. (Ziegler et al. 2019) */
public final class KlController {
  private final boolean adaptive;
  private final double target;
  private final double horizon;
  private double value;

  public KlController(double initial, boolean adaptive, double target, double horizon) {
    this.value = initial;
    this.adaptive = adaptive;
    this.target = target;
    this.horizon = horizon;
  }

  public double value() {
    return value;
  }

  /** Continues a run. */
  public void set(double value) {
    this.value = value;
  }

  /**
   * β ← β·(1 + clip(KL/target − 1, ±0.2)·n/horizon).
   *
   * @param n queries of the batch that had this KL
   */
  public void update(double kl, int n) {
    if (adaptive) {
      double error = Math.clamp(kl / target - 1, -0.2, 0.2);
      value *= 1 + error * n / horizon;
    }
  }
}
