package org.rlhf4j.checkpoint;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;

/**
 * The scales of an {@link Nf4Tensor}'s blocks: the largest absolute value of each, as numbers or
 * themselves quantised.
 */
public sealed interface Nf4Scales {
  /** f32 in files, at any alignment. */
  ValueLayout.OfFloat FLOAT = ValueLayout.JAVA_FLOAT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

  /** Scales from the bytes of f32 [blocks]. */
  static Nf4Scales ofPlain(byte[] absmax) {
    return new Plain(MemorySegment.ofArray(absmax));
  }

  /** Quantised scales from the bytes of their parts. */
  static Nf4Scales ofNested(byte[] absmax, byte[] code, byte[] nestedAbsmax, float offset) {
    return new Nested(
        MemorySegment.ofArray(absmax),
        MemorySegment.ofArray(code),
        MemorySegment.ofArray(nestedAbsmax),
        offset);
  }

  /** How many scales there are. */
  long blocks();

  /** Scales {@code [first, first + into.length)}. */
  void read(long first, float[] into);

  /** The parts one after the other, as they are stored. */
  MemorySegment bytes();

  /** Whether the scales are quantised too ("double quantisation"). */
  boolean isNested();

  /** These scales as numbers. */
  Plain plain();

  /** These scales quantised; what is so already is itself. */
  Nested nested();

  /**
   * One number for each block.
   *
   * @param absmax f32 [blocks]
   */
  record Plain(MemorySegment absmax) implements Nf4Scales {
    @Override
    public long blocks() {
      return absmax.byteSize() / Float.BYTES;
    }

    @Override
    public void read(long first, float[] into) {
      MemorySegment.copy(absmax, FLOAT, first * Float.BYTES, into, 0, into.length);
    }

    @Override
    public MemorySegment bytes() {
      return absmax;
    }

    @Override
    public boolean isNested() {
      return false;
    }

    @Override
    public Plain plain() {
      return this;
    }

    @Override
    public Nested nested() {
      return NestedScales.quantise(this);
    }
  }

  /**
   * Scale i is {@code code[absmax i] · nestedAbsmax of block i / 256 + offset}.
   *
   * @param absmax u8 [blocks]
   * @param code f32 [256]
   * @param nestedAbsmax f32 [⌈blocks / 256⌉]
   * @param offset the mean of the scales
   */
  record Nested(MemorySegment absmax, MemorySegment code, MemorySegment nestedAbsmax, float offset)
      implements Nf4Scales {
    /** Scales that share a scale of their own. */
    public static final int BLOCK = 256;

    /** The blocks of so many scales; the last may be short. */
    static long groups(long blocks) {
      return (blocks + BLOCK - 1) / BLOCK;
    }

    @Override
    public long blocks() {
      return absmax.byteSize();
    }

    /** Two roundings, as in bitsandbytes: the product's, then the sum's. */
    @Override
    public void read(long first, float[] into) {
      float[] levels = code.toArray(FLOAT);
      for (int i = 0; i < into.length; i++) {
        float level = levels[absmax.get(ValueLayout.JAVA_BYTE, first + i) & 0xFF];
        into[i] = level * nestedAbsmax.get(FLOAT, (first + i) / BLOCK * Float.BYTES) + offset;
      }
    }

    @Override
    public MemorySegment bytes() {
      return join(absmax, code, nestedAbsmax, MemorySegment.ofArray(new float[] {offset}));
    }

    @Override
    public boolean isNested() {
      return true;
    }

    @Override
    public Plain plain() {
      float[] scales = new float[Math.toIntExact(blocks())];
      read(0, scales);
      return new Plain(MemorySegment.ofArray(scales));
    }

    @Override
    public Nested nested() {
      return this;
    }
  }

  /** A copy of the parts, one after the other. */
  static MemorySegment join(MemorySegment... parts) {
    long size = 0;
    for (MemorySegment part : parts) {
      size += part.byteSize();
    }
    MemorySegment all = Arena.ofAuto().allocate(size, 64);
    long at = 0;
    for (MemorySegment part : parts) {
      MemorySegment.copy(part, 0, all, at, part.byteSize());
      at += part.byteSize();
    }
    return all.asReadOnly();
  }
}
