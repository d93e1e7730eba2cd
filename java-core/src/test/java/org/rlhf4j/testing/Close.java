package org.rlhf4j.testing;

import static org.junit.jupiter.api.Assertions.fail;

/** Comparison by golden's rule: |a − b| ≤ atol + rtol·|b|. */
public final class Close {
  private Close() {}

  public static void check(String what, float[] got, float[] want, double atol, double rtol) {
    if (got.length != want.length) {
      fail(what + ": " + got.length + " values, want " + want.length);
    }
    for (int i = 0; i < got.length; i++) {
      check(what + "[" + i + "]", got[i], want[i], atol, rtol);
    }
  }

  public static void check(String what, double got, double want, double atol, double rtol) {
    if (!(Math.abs(got - want) <= atol + rtol * Math.abs(want))) {
      fail(what + ": got " + got + ", want " + want + " within " + atol + " + " + rtol + "·|want|");
    }
  }

  /** f32 ops: 1e-5 / 1e-4. */
  public static void op(String what, float[] got, float[] want) {
    check(what, got, want, 1e-5, 1e-4);
  }

  /** f32 gradients: 1e-4 / 1e-3. */
  public static void gradient(String what, float[] got, float[] want) {
    check(what, got, want, 1e-4, 1e-3);
  }

  /** bf16: {@code share} of the largest |want|. */
  public static void bf16(String what, float[] got, float[] want, double share) {
    float largest = 0;
    for (float w : want) {
      largest = Math.max(largest, Math.abs(w));
    }
    check(what, got, want, share * largest + 1e-30, 0);
  }
}
