package org.rlhf4j.checkpoint;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.lang.ref.SoftReference;
import java.util.Objects;
import java.util.function.UnaryOperator;

/**
 * A stored tensor whose values are converted as a whole: read once as f32 when they are first asked
 * for, and kept as long as memory allows.
 */
public final class ConvertedTensor implements StoredTensor {
  private final StoredTensor inner;
  private final String name;
  private final long[] shape;
  private final UnaryOperator<float[]> convert;
  private SoftReference<float[]> kept = new SoftReference<>(null);

  private ConvertedTensor(
      String name, StoredTensor inner, long[] shape, UnaryOperator<float[]> convert) {
    this.name = name;
    this.inner = inner;
    this.shape = shape;
    this.convert = convert;
  }

  /** A matrix [n, m] as [m, n]. */
  public static StoredTensor transposed(StoredTensor stored) {
    long[] shape = stored.shape();
    return new ConvertedTensor(
        stored.name(), stored, new long[] {shape[1], shape[0]}, v -> transpose(v, shape));
  }

  /** Every element with {@code addend} added. */
  public static StoredTensor plus(StoredTensor stored, float addend) {
    return new ConvertedTensor(stored.name(), stored, stored.shape(), v -> plus(v, addend));
  }

  /** A row-major matrix of {@code shape} [n, m] as [m, n]. */
  public static float[] transpose(float[] values, long[] shape) {
    int n = (int) shape[0];
    int m = (int) shape[1];
    float[] result = new float[values.length];
    for (int i = 0; i < n; i++) {
      for (int j = 0; j < m; j++) {
        result[j * n + i] = values[i * m + j];
      }
    }
    return result;
  }

  public static float[] plus(float[] values, float addend) {
    float[] result = new float[values.length];
    for (int i = 0; i < values.length; i++) {
      result[i] = values[i] + addend;
    }
    return result;
  }

  private synchronized float[] values() {
    float[] values = kept.get();
    if (values == null) {
      float[] stored = new float[Math.toIntExact(inner.elements())];
      inner.read(0, stored.length, stored, 0);
      values = convert.apply(stored);
      kept = new SoftReference<>(values);
    }
    return values;
  }

  @Override
  public String name() {
    return name;
  }

  @Override
  public String storedType() {
    return "F32";
  }

  @Override
  public long[] shape() {
    return shape.clone();
  }

  @Override
  public long elements() {
    return inner.elements();
  }

  @Override
  public long byteSize() {
    return elements() * Float.BYTES;
  }

  @Override
  public MemorySegment bytes() {
    MemorySegment bytes = Arena.ofAuto().allocate(byteSize(), 64);
    MemorySegment.copy(values(), 0, bytes, ValueLayout.JAVA_FLOAT, 0, (int) elements());
    return bytes.asReadOnly();
  }

  @Override
  public void read(long first, int count, float[] into, int offset) {
    Objects.checkFromIndexSize(first, count, elements());
    System.arraycopy(values(), (int) first, into, offset, count);
  }
}
