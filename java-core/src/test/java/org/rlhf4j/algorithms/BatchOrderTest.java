package org.rlhf4j.algorithms;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

class BatchOrderTest {
  private static int[] epoch(BatchOrder order, int epoch) {
    List<Integer> seen = new ArrayList<>();
    for (int s = 0; s < order.stepsPerEpoch(); s++) {
      for (int i : order.batch((long) epoch * order.stepsPerEpoch() + s)) {
        seen.add(i);
      }
    }
    return seen.stream().mapToInt(i -> i).toArray();
  }

  @Test
  void unshuffledIsTheOrderOfTheFileWithASmallerLastBatch() {
    BatchOrder order = new BatchOrder(7, 3, 5, false);
    assertEquals(3, order.stepsPerEpoch());
    assertArrayEquals(new int[] {0, 1, 2}, order.batch(0));
    assertArrayEquals(new int[] {6}, order.batch(2));
    assertArrayEquals(new int[] {0, 1, 2}, order.batch(3));
  }

  @Test
  void everyEpochSeesEveryExampleOnceInAnOrderOfItsOwn() {
    BatchOrder order = new BatchOrder(23, 4, 5, true);
    int[] first = epoch(order, 0);
    int[] second = epoch(order, 1);
    assertFalse(Arrays.equals(first, second));
    for (int[] e : List.of(first, second)) {
      int[] sorted = e.clone();
      Arrays.sort(sorted);
      assertArrayEquals(IntStream.range(0, 23).toArray(), sorted);
    }
  }

  @Test
  void dependsOnSeedAndStepAlone() {
    BatchOrder order = new BatchOrder(23, 4, 5, true);
    int[] late = order.batch(17); // asked for first, as a resumed run does
    order.batch(3);
    assertArrayEquals(late, new BatchOrder(23, 4, 5, true).batch(17));
    assertFalse(Arrays.equals(epoch(order, 0), epoch(new BatchOrder(23, 4, 6, true), 0)));
  }

  @Test
  void everyPlaceIsAsLikelyForEveryExample() {
    int n = 6;
    int rounds = 6000;
    int[][] count = new int[n][n];
    for (int r = 0; r < rounds; r++) {
      int[] p = BatchOrder.permutation(n, 42, r, true);
      for (int i = 0; i < n; i++) {
        count[i][p[i]]++;
      }
    }
    // A binomial of mean 1000 and deviation 29: five of them is one chance in a million a place.
    for (int[] row : count) {
      for (int c : row) {
        assertEquals(1000, c, 145);
      }
    }
  }

  @Test
  void aBatchLargerThanTheDataIsTheData() {
    BatchOrder order = new BatchOrder(2, 8, 1, false);
    assertEquals(1, order.stepsPerEpoch());
    assertArrayEquals(new int[] {0, 1}, order.batch(4));
  }
}
