package org.rlhf4j.algorithms;

import static org.junit.jupiter.api.Assertions.assertEquals;

import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.rlhf4j.algorithms.PpoMath.Advantages;
import org.rlhf4j.tensor.Device;
import org.rlhf4j.tensor.Scope;
import org.rlhf4j.tensor.Tensor;
import org.rlhf4j.testing.Close;
import org.rlhf4j.testing.TestDevice;

/** Two responses, of three tokens and of one, worked out by hand. */
class PpoMathTest {
  private final Device device = TestDevice.open();
  private final Scope scope = device.scope();

  @AfterEach
  void close() {
    device.close();
  }

  private Advantages advantages(
      double gamma, double lam, boolean whitenRewards, boolean whitenAdvantages) {
    Scores s =
        new Scores(
            scope.of(0f, 0f, 0f, 0f), // log-probabilities: only their number counts
            null,
            scope.of(1f, -2f, 0.5f, 4f), // KL
            scope.of(0.5f, 1f, -1f, 2f), // values
            null,
            null,
            scope.of(0, 3, 4));
    return PpoMath.advantages(
        scope, s, new float[] {3, -1}, 0.1, gamma, lam, whitenRewards, whitenAdvantages);
  }

  private static void check(String what, Tensor got, double... want) {
    float[] w = new float[want.length];
    for (int i = 0; i < w.length; i++) {
      w[i] = (float) want[i];
    }
    Close.check(what, got.toFloats(), w, 1e-6, 1e-6);
  }

  @Test
  void byHand() {
    Advantages a = advantages(0.9, 0.5, false, false);
    check("rewards", a.rewards(), -0.1, 0.2, 2.95, -1.4);
    // δ: -0.1 + 0.9·1 - 0.5, 0.2 - 0.9·1 - 1, 2.95 + 1, -1.4 - 2; A_t = δ_t + 0.45 A_{t+1}
    double third = 3.95;
    double second = -1.7 + 0.45 * third;
    double first = 0.3 + 0.45 * second;
    check("advantages", a.advantages(), first, second, third, -3.4);
    check("returns", a.returns(), first + 0.5, second + 1, third - 1, -1.4);
  }

  @Test
  void monteCarloReturnsWithoutDiscount() {
    Advantages a = advantages(1, 1, false, false);
    check("returns", a.returns(), 3.05, 3.15, 2.95, -1.4);
  }

  @Test
  void whiteningShiftsAdvantagesButNotReturns() {
    Advantages plain = advantages(0.9, 0.5, false, false);
    Advantages white = advantages(0.9, 0.5, false, true);
    check("returns", white.returns(), doubles(plain.returns().toFloats()));
    double[] x = doubles(plain.advantages().toFloats());
    double mean = (x[0] + x[1] + x[2] + x[3]) / 4;
    double m2 = 0;
    for (double v : x) {
      m2 += (v - mean) * (v - mean);
    }
    double std = Math.sqrt(m2 / 3 + 1e-8);
    check(
        "advantages",
        white.advantages(),
        (x[0] - mean) / std,
        (x[1] - mean) / std,
        (x[2] - mean) / std,
        (x[3] - mean) / std);
  }

  @Test
  void whitenedRewardsKeepTheirMean() {
    Advantages a = advantages(0.9, 0.5, true, false);
    double mean = (-0.1 + 0.2 + 2.95 - 1.4) / 4;
    float[] got = a.rewards().toFloats();
    assertEquals(mean, (got[0] + got[1] + got[2] + got[3]) / 4, 1e-6);
    double m2 = 0;
    for (float v : got) {
      m2 += (v - mean) * (v - mean);
    }
    assertEquals(1, m2 / 3, 1e-5);
  }

  private static double[] doubles(float[] x) {
    double[] d = new double[x.length];
    for (int i = 0; i < d.length; i++) {
      d[i] = x[i];
    }
    return d;
  }

  @Test
  void explainedVariance() {
    float[] returns = {1, 2, 6};
    assertEquals(1, PpoMath.explainedVariance(returns, returns), 1e-12);
    // A constant offset is no fault of the spread; knowing nothing explains nothing.
    assertEquals(1, PpoMath.explainedVariance(new float[] {3, 4, 8}, returns), 1e-12);
    assertEquals(0, PpoMath.explainedVariance(new float[] {5, 5, 5}, returns), 1e-12);
    assertEquals(0, PpoMath.explainedVariance(returns, new float[] {5, 5, 5}));
    // returns − values: -1 0 1, variance 2/3 of 14/3
    assertEquals(1 - 2.0 / 14, PpoMath.explainedVariance(new float[] {2, 2, 5}, returns), 1e-12);
  }
}
