package org.rlhf4j.algorithms;

import java.util.SplittableRandom;

/**
 * Which examples a step sees: a fresh permutation every epoch, drawn from (seed, epoch) alone, so
 * that a resumed run goes on where the first one stopped. The last batch of an epoch may be
 * smaller.
 *
 * @param shuffle false: the order of the file
 */
public record BatchOrder(int examples, int batchSize, long seed, boolean shuffle) {
  /** The last epoch's permutation: with millions of rows, drawing it takes longer than a step. */
  private record Drawn(BatchOrder order, long epoch, int[] permutation) {}

  private static volatile Drawn last;

  public int stepsPerEpoch() {
    return (examples + batchSize - 1) / batchSize;
  }

  /** The examples of step {@code step}, counted from 0 over all epochs. */
  public int[] batch(long step) {
    int[] order = epoch(step / stepsPerEpoch());
    int from = (int) (step % stepsPerEpoch()) * batchSize;
    return java.util.Arrays.copyOfRange(order, from, Math.min(examples, from + batchSize));
  }

  private int[] epoch(long epoch) {
    Drawn drawn = last;
    if (drawn == null || drawn.epoch != epoch || !drawn.order.equals(this)) {
      drawn = new Drawn(this, epoch, permutation(examples, seed, epoch, shuffle));
      last = drawn;
    }
    return drawn.permutation;
  }

  /** 0 … n−1, shuffled by (seed, round) or in order. (Fisher & Yates) */
  public static int[] permutation(int n, long seed, long round, boolean shuffle) {
    int[] order = new int[n];
    for (int i = 0; i < n; i++) {
      order[i] = i;
    }
    if (shuffle) {
      SplittableRandom random = new SplittableRandom(seed * 0x9E3779B97F4A7C15L + round);
      for (int i = n - 1; i > 0; i--) {
        int j = random.nextInt(i + 1);
        int kept = order[i];
        order[i] = order[j];
        order[j] = kept;
      }
    }
    return order;
  }
}
