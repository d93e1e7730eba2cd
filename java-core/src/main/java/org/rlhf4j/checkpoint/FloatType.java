package org.rlhf4j.checkpoint;

import java.util.Locale;
import org.rlhf4j.InputException;

/**
 * The floating-point types that we write. Rounding is to nearest, ties to even; overflow becomes
 * infinity.
 */
public enum FloatType {
  F32(4),
  F16(2),
  BF16(2);

  private final int bytes;

  FloatType(int bytes) {
    this.bytes = bytes;
  }

  /** Bytes of one element. */
  public int bytes() {
    return bytes;
  }

  /** The name in a Hugging Face config.json: {@code float32}, {@code float16}, {@code bfloat16}. */
  public String torchName() {
    return switch (this) {
      case F32 -> "float32";
      case F16 -> "float16";
      case BF16 -> "bfloat16";
    };
  }

  /**
   * Accepts {@code f32}, {@code f16}, {@code bf16} and torch's names, in any case; anything else is
   * an InputException.
   */
  public static FloatType parse(String name) {
    for (FloatType type : values()) {
      if (type.name().equalsIgnoreCase(name)
          || type.torchName().equals(name.toLowerCase(Locale.ROOT))) {
        return type;
      }
    }
    throw new InputException("dtype '" + name + "': expected f32, f16 or bf16");
  }

  /** The same values, each rounded to this type. */
  public FloatSource rounding(FloatSource values) {
    return switch (this) {
      case F32 -> values;
      case F16 ->
          (first, count, into, offset) -> {
            values.read(first, count, into, offset);
            for (int i = offset; i < offset + count; i++) {
              into[i] = Float.float16ToFloat(Float.floatToFloat16(into[i]));
            }
          };
      case BF16 ->
          (first, count, into, offset) -> {
            values.read(first, count, into, offset);
            for (int i = offset; i < offset + count; i++) {
              into[i] = Float.intBitsToFloat(bf16(into[i]) << 16);
            }
          };
    };
  }

  /** Writes {@code count} values to {@code dst[at …]}, little-endian. */
  void encode(float[] src, int count, byte[] dst, int at) {
    for (int i = 0; i < count; i++) {
      switch (this) {
        case F32 -> LittleEndian.FLOAT.set(dst, at + 4 * i, src[i]);
        case F16 -> LittleEndian.SHORT.set(dst, at + 2 * i, Float.floatToFloat16(src[i]));
        case BF16 -> LittleEndian.SHORT.set(dst, at + 2 * i, bf16(src[i]));
      }
    }
  }

  private static short bf16(float value) {
    int bits = Float.floatToRawIntBits(value);
    if (Float.isNaN(value)) {
      return (short) (bits >>> 16 | 0x40); // keep it a NaN whatever the low bits were
    }
    return (short) (bits + 0x7FFF + (bits >>> 16 & 1) >>> 16);
  }
}
