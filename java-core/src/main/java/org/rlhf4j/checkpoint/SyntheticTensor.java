package org.rlhf4j.checkpoint;

import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.Objects;

/**
 * A tensor that lies in no file, for measuring what a model of some shape takes: a vector of ones
 * (norms), or a matrix of values from ±0.035, whose variance is the 0.02² that models begin with.
 * An element depends on name and index alone.
 */
public record SyntheticTensor(String name, long... shape) implements StoredTensor {
  private static final float BOUND = 0.035f;

  @Override
  public String storedType() {
    return "synthetic";
  }

  @Override
  public long[] shape() {
    return shape.clone();
  }

  @Override
  public long elements() {
    return Shapes.elements(shape);
  }

  @Override
  public long byteSize() {
    return 0;
  }

  @Override
  public MemorySegment bytes() {
    return MemorySegment.NULL;
  }

  /** By the mixing of SplitMix64. (Steele et al. 2014) */
  @Override
  public void read(long first, int count, float[] into, int offset) {
    Objects.checkFromIndexSize(first, count, elements());
    Objects.checkFromIndexSize(offset, count, into.length);
    if (shape.length == 1) {
      Arrays.fill(into, offset, offset + count, 1);
      return;
    }
    long seed = name.hashCode() * 0x9E3779B97F4A7C15L;
    for (int i = 0; i < count; i++) {
      long z = seed + (first + i) * 0x9E3779B97F4A7C15L;
      z = (z ^ (z >>> 30)) * 0xBF58476D1CE4E5B9L;
      into[offset + i] = (int) (z >>> 32) * (BOUND / 0x1p31f);
    }
  }

  @Override
  public void unload() {}
}
