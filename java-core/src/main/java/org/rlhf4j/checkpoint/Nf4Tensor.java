package org.rlhf4j.checkpoint;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;
import java.util.Objects;

/**
 * A matrix in bitsandbytes' NF4 (QLoRA, arXiv 2305.14314): element i of the flat matrix is {@code
 * LEVELS[code i] · scale of block i / 64}. Blocks run over the ends of rows.
 *
 * @param codes 4 bits for each element, the earlier element in the high half of its byte
 * @param original what the numbers were before: bitsandbytes dequantises to it
 */
public record Nf4Tensor(
    String name, long[] shape, MemorySegment codes, Nf4Scales scales, FloatType original)
    implements StoredTensor {
  /** Elements that share a scale. */
  public static final int BLOCK = 64;

  /** The 16 levels: quantiles of the normal distribution, scaled to [-1, 1], with an exact 0. */
  static final float[] LEVELS = {
    -1.0f,
    -0.6961928009986877f,
    -0.5250730514526367f,
    -0.39491748809814453f,
    -0.28444138169288635f,
    -0.18477343022823334f,
    -0.09105003625154495f,
    0.0f,
    0.07958029955625534f,
    0.16093020141124725f,
    0.24611230194568634f,
    0.33791524171829224f,
    0.44070982933044434f,
    0.5626170039176941f,
    0.7229568362236023f,
    1.0f
  };

  public Nf4Tensor {
    long elements = Shapes.elements(shape);
    if (codes.byteSize() != codeBytes(elements) || scales.blocks() != blocks(elements)) {
      throw new IllegalArgumentException(
          name
              + ": "
              + codes.byteSize()
              + " bytes of codes and "
              + scales.blocks()
              + " scales do not make "
              + Arrays.toString(shape));
    }
  }

  /** From codes that lie in an array. */
  public static Nf4Tensor of(
      String name, long[] shape, byte[] codes, Nf4Scales scales, FloatType original) {
    return new Nf4Tensor(name, shape, MemorySegment.ofArray(codes), scales, original);
  }

  /** The bytes that the codes of so many elements take. */
  static long codeBytes(long elements) {
    return elements / 2 + elements % 2;
  }

  /** The blocks of so many elements; the last may be short. */
  static long blocks(long elements) {
    return elements / BLOCK + (elements % BLOCK == 0 ? 0 : 1);
  }

  /** The same codes, with scales of the kind asked for. */
  public Nf4Tensor withScales(boolean nested) {
    Nf4Scales wanted = nested ? scales.nested() : scales.plain();
    return wanted == scales ? this : new Nf4Tensor(name, shape, codes, wanted, original);
  }

  @Override
  public String storedType() {
    return scales.isNested() ? "NF4_DOUBLE" : "NF4";
  }

  @Override
  public long[] shape() {
    return shape.clone();
  }

  @Override
  public long elements() {
    return Shapes.elements(shape);
  }

  /** Codes and scales. */
  @Override
  public long byteSize() {
    return codes.byteSize() + scales.bytes().byteSize();
  }

  /** A copy: the codes, then the scales. */
  @Override
  public MemorySegment bytes() {
    return Nf4Scales.join(codes, scales.bytes());
  }

  @Override
  public void unload() {
    if (codes.isMapped()) {
      codes.unload();
    }
  }

  @Override
  public void read(long first, int count, float[] into, int offset) {
    Objects.checkFromIndexSize(first, count, elements());
    Objects.checkFromIndexSize(offset, count, into.length);
    if (count == 0) {
      return;
    }
    long firstBlock = first / BLOCK;
    float[] scale = new float[(int) ((first + count - 1) / BLOCK - firstBlock) + 1];
    scales.read(firstBlock, scale);
    byte[] packed = new byte[(int) ((first + count - 1) / 2 - first / 2) + 1];
    MemorySegment.copy(codes, ValueLayout.JAVA_BYTE, first / 2, packed, 0, packed.length);
    int odd = (int) (first % 2);
    int inBlock = (int) (first % BLOCK);
    for (int i = 0; i < count; i++) {
      int pair = packed[(i + odd) / 2];
      int code = (i + odd) % 2 == 0 ? pair >> 4 & 0xF : pair & 0xF;
      into[offset + i] = LEVELS[code] * scale[(i + inBlock) / BLOCK];
    }
  }

  @Override
  public String toString() {
    return name + " " + storedType() + " " + Arrays.toString(shape);
  }
}
