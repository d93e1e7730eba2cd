package org.rlhf4j.checkpoint;

import java.lang.foreign.MemorySegment;
import java.util.Objects;

/**
 * A tensor that lies in no file: small numbers made from their positions, for measuring what a
 * model of some shape takes before there is one.
 */
public record SyntheticTensor(String name, long... shape) implements StoredTensor {
  private static final float SPREAD = 0.02f;

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

  /** Uniform in ±0.02, by the mixing of SplitMix64. (Steele et al. 2014) */
  @Override
  public void read(long first, int count, float[] into, int offset) {
    Objects.checkFromIndexSize(first, count, elements());
    Objects.checkFromIndexSize(offset, count, into.length);
    for (int i = 0; i < count; i++) {
      long z = (first + i) * 0x9E3779B97F4A7C15L;
      z = (z ^ (z >>> 30)) * 0xBF58476D1CE4E5B9L;
      into[offset + i] = (int) (z >>> 32) * (SPREAD / 0x1p31f);
    }
  }

  @Override
  public void unload() {}
}
