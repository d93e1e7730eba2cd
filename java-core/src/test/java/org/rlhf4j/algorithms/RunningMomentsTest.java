package org.rlhf4j.algorithms;

import static org.junit.jupiter.api.Assertions.assertEquals;

import org.junit.jupiter.api.Test;

/** Batch by batch is the same as all at once. */
class RunningMomentsTest {
  @Test
  void ofOneBatch() {
    RunningMoments m = new RunningMoments();
    m.update(new float[] {1, 2, 6});
    assertEquals(3, m.mean(), 1e-12);
    assertEquals(Math.sqrt(7), m.std(), 1e-12); // (4 + 1 + 9) / (3 - 1)
  }

  @Test
  void ofSeveralBatchesOfDifferentSizes() {
    RunningMoments m = new RunningMoments();
    m.update(new float[] {1, 2});
    m.update(new float[] {6});
    m.update(new float[] {-3, 4, 2, 9});
    // 1 2 6 -3 4 2 9: mean 3, squares 4 1 9 36 1 1 36
    assertEquals(3, m.mean(), 1e-12);
    assertEquals(Math.sqrt(88.0 / 6), m.std(), 1e-12);
  }

  @Test
  void aResumedRunGoesOnWithTheSameMoments() {
    RunningMoments first = new RunningMoments();
    first.update(new float[] {1, 5, 7});
    RunningMoments second = new RunningMoments();
    second.restore(first.state());
    first.update(new float[] {2, -8});
    second.update(new float[] {2, -8});
    assertEquals(first.mean(), second.mean());
    assertEquals(first.std(), second.std());
  }
}
