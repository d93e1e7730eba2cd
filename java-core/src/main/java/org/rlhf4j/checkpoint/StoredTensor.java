package org.rlhf4j.checkpoint;

import java.lang.foreign.MemorySegment;

/**
 * A tensor that lies in a file. Reading is lazy: nothing is touched until {@link #bytes} or {@link
 * #read} is called. All methods may be called from several threads at once, until the file that
 * owns the tensor is closed; after that, the bytes are gone and access throws
 * IllegalStateException.
 */
public interface StoredTensor extends FloatSource {
  /** The name in the file, or the Hugging Face name where {@link ModelFiles} gave it one. */
  String name();

  /**
   * How the elements are stored, in the format's own words: {@code F32}, {@code BF16}, {@code
   * Q4_1}, …
   */
  String storedType();

  /** Row-major shape, slowest dimension first; empty for a scalar. The array is a copy. */
  long[] shape();

  /** The product of {@link #shape}. */
  long elements();

  /** Bytes as stored. */
  long byteSize();

  /** The stored little-endian bytes, read-only, {@link #byteSize} long. Not necessarily aligned. */
  MemorySegment bytes();

  /**
   * Gives the pages that were read back to the system, to be called when a tensor is done with: a
   * model that is loaded never lies in memory twice. Reading goes on to work.
   */
  void unload();

  /**
   * Converts (and dequantises) elements {@code [first, first + count)} in row-major order to f32,
   * at any alignment.
   *
   * @throws IndexOutOfBoundsException when the range leaves the tensor or the array
   */
  @Override
  void read(long first, int count, float[] into, int offset);
}
