package org.rlhf4j.checkpoint;

import java.util.Arrays;

/** Arithmetic on shapes that files claim, which may be absurd. */
final class Shapes {
  private Shapes() {}

  /** The number of elements, or -1 when a dimension is negative or the product overflows. */
  static long elements(long[] shape) {
    long product = 1;
    for (long dimension : shape) {
      if (dimension < 0) {
        return -1;
      }
    }
    if (Arrays.stream(shape).anyMatch(d -> d == 0)) {
      return 0;
    }
    for (long dimension : shape) {
      if (Math.multiplyHigh(product, dimension) != 0 || product * dimension < 0) {
        return -1;
      }
      product *= dimension;
    }
    return product;
  }

  /**
   * Bytes of {@code elements} of that type, or -1 when they are no whole number of blocks or the
   * size overflows.
   */
  static long bytes(StorageType type, long elements) {
    if (elements < 0 || elements % type.blockElements != 0) {
      return -1;
    }
    long blocks = elements / type.blockElements;
    return blocks > Long.MAX_VALUE / type.blockBytes ? -1 : blocks * type.blockBytes;
  }
}
