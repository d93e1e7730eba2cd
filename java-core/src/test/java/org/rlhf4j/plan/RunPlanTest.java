package org.rlhf4j.plan;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import org.junit.jupiter.api.Test;

class RunPlanTest {
  /**
   * weights 10 + 3 L + 2 V, loading V, state 1 + L, phases (100, 20 + 7 L), seconds 0.5 + 0.1 L +
   * 0.01 V.
   */
  private static Probe probe(int layers, int vocab) {
    return new Probe(
        layers,
        vocab,
        10 + 3L * layers + 2L * vocab,
        (long) vocab,
        1 + layers,
        List.of(100L, 20 + 7L * layers),
        0.5 + 0.1 * layers + 0.01 * vocab);
  }

  private static RunPlan plan(int layers, int vocab, long available) {
    return RunPlan.of(
        probe(1, 4), probe(2, 4), probe(1, 8), layers, vocab, 0.5, 1000, available, 20);
  }

  @Test
  void wholeModelsFollowFromSmallOnes() {
    RunPlan plan = plan(32, 100, 5000);
    assertEquals(10 + 96 + 200, plan.weights());
    assertEquals(33, plan.state());
    assertEquals(20 + 7 * 32, plan.transients(), "the phase that is highest in the whole model");
    assertEquals(306 + 33 + 244 + 1000, plan.memory());
    assertEquals((0.5 + 3.2 + 1) / 2, plan.secondsPerStep(), 1e-9);
    assertEquals(20 * plan.secondsPerStep(), plan.seconds());
    assertEquals(100, plan(3, 4, 5000).transients());
    assertEquals(1000 - 4, plan(3, 1000, 5000).transients(), "loading, before there is a state");
  }

  @Test
  void fitsWithATenthToSpare() {
    long memory = plan(32, 100, 0).memory();
    assertTrue(plan(32, 100, memory * 10 / 9 + 2).fits());
    assertFalse(plan(32, 100, memory).fits());
  }
}
