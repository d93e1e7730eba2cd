package org.rlhf4j.algorithms;

import static org.junit.jupiter.api.Assertions.assertEquals;

import org.junit.jupiter.api.Test;

/** β by hand; a whole sequence of updates is in GoldenRlTest. */
class KlControllerTest {
  @Test
  void aFixedCoefficientStays() {
    KlController kl = new KlController(0.2, false, 6, 10000);
    kl.update(600, 64);
    assertEquals(0.2, kl.value());
  }

  @Test
  void growsWithTheErrorAndTheBatch() {
    KlController kl = new KlController(0.5, true, 6, 100);
    kl.update(6.6, 10); // error 0.1: 1 + 0.1 * 10 / 100
    assertEquals(0.5 * 1.01, kl.value(), 1e-15);
    kl.update(6, 10);
    assertEquals(0.5 * 1.01, kl.value(), 1e-15);
  }

  @Test
  void theErrorIsBounded() {
    KlController kl = new KlController(1, true, 6, 100);
    kl.update(1e9, 10);
    assertEquals(1.02, kl.value(), 1e-15);
    kl.set(1);
    kl.update(-1e9, 10); // an estimate of the KL may be negative
    assertEquals(0.98, kl.value(), 1e-15);
  }
}
