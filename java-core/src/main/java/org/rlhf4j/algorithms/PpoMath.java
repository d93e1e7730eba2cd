package org.rlhf4j.algorithms;

import org.rlhf4j.tensor.AdvantagesConfig;
import org.rlhf4j.tensor.DType;
import org.rlhf4j.tensor.Kernels;
import org.rlhf4j.tensor.Scope;
import org.rlhf4j.tensor.Tensor;

/**
 * The maths of PPO between scoring and updating, on packed response tokens. DESIGN §4, steps 3 and
 * 4.
 */
public final class PpoMath {
  private PpoMath() {}

  /**
   * Advantages of a batch, all f32 [N].
   *
   * @param rewards −β·KL, plus the score at each response's last token
   * @param advantages as the policy loss takes them: whitened, if configured
   * @param returns unwhitened advantages + values
   */
  public record Advantages(Tensor rewards, Tensor advantages, Tensor returns) {}

  /**
   * Shapes the rewards, then generalised advantage estimation, then whitening over all valid tokens
   * of the batch.
   *
   * @param scores f32 [B], after clipping and normalisation
   */
  public static Advantages advantages(
      Scope scope,
      Scores s,
      float[] scores,
      double klCoef,
      double gamma,
      double lam,
      boolean whitenRewards,
      boolean whitenAdvantages) {
    long n = s.logp().elements();
    Tensor rewards = scope.allocate(DType.F32, n);
    Tensor advantages = scope.allocate(DType.F32, n);
    Tensor returns = scope.allocate(DType.F32, n);
    Kernels.advantages(
        rewards,
        advantages,
        returns,
        s.kl(),
        scope.of(scores),
        s.values(),
        s.starts(),
        new AdvantagesConfig(
            (float) klCoef, (float) gamma, (float) lam, whitenRewards, whitenAdvantages));
    return new Advantages(rewards, advantages, returns);
  }

  /**
   * 1 − var(R − V) / var(R): how much of the returns' spread the values of the rollout had
   * foreseen.
   */
  public static double explainedVariance(float[] values, float[] returns) {
    float[] left = new float[returns.length];
    for (int i = 0; i < left.length; i++) {
      left[i] = returns[i] - values[i];
    }
    double spread = variance(returns);
    return spread == 0 ? 0 : 1 - variance(left) / spread;
  }

  private static double variance(float[] xs) {
    double mean = 0;
    for (float x : xs) {
      mean += x;
    }
    mean /= xs.length;
    double sum = 0;
    for (float x : xs) {
      sum += (x - mean) * (x - mean);
    }
    return sum / xs.length;
  }
}
