package org.rlhf4j.checkpoint;

import java.util.Arrays;
import java.util.Locale;
import org.rlhf4j.InputException;

/** The types of weights that we write to GGUF files. */
public enum GgufType {
  F32(StorageType.F32, 0),
  F16(StorageType.F16, 1),
  BF16(StorageType.BF16, 32),
  /** 8 bits for an element, and a scale (f16) for each block of 32. */
  Q8_0(StorageType.Q8_0, 7);

  private final StorageType storage;
  private final int fileType;

  GgufType(StorageType storage, int fileType) {
    this.storage = storage;
    this.fileType = fileType;
  }

  /** Accepts the names in any case; anything else is an InputException. */
  public static GgufType parse(String name) {
    String lower = name.toLowerCase(Locale.ROOT);
    return Arrays.stream(values())
        .filter(t -> t.name().toLowerCase(Locale.ROOT).equals(lower))
        .findFirst()
        .orElseThrow(
            () ->
                new InputException(
                    "dtype '" + name + "': expected f32, f16, bf16 or q8_0 for a GGUF file"));
  }

  StorageType storage() {
    return storage;
  }

  /** The value of general.file_type for a file whose matrices are of this type. */
  int fileType() {
    return fileType;
  }

  /** Writes {@code count} values (whole blocks) to the start of {@code dst}; returns the bytes. */
  int encode(float[] src, int count, byte[] dst) {
    switch (this) {
      case F32 -> FloatType.F32.encode(src, count, dst, 0);
      case F16 -> FloatType.F16.encode(src, count, dst, 0);
      case BF16 -> FloatType.BF16.encode(src, count, dst, 0);
      case Q8_0 -> q8v0(src, count / storage.blockElements, dst);
    }
    return (int) Shapes.bytes(storage, count);
  }

  /**
   * d = max |x| / 127 as f16, then 32 × round(x / d), with ties away from zero and d before its own
   * rounding, as GGML's reference.
   */
  private static void q8v0(float[] src, int blocks, byte[] dst) {
    for (int b = 0; b < blocks; b++) {
      int from = 32 * b;
      int to = 34 * b;
      float largest = 0;
      for (int j = 0; j < 32; j++) {
        largest = Math.max(largest, Math.abs(src[from + j]));
      }
      float d = largest / 127;
      float inverse = d == 0 ? 0 : 1 / d;
      LittleEndian.SHORT.set(dst, to, Float.floatToFloat16(d));
      for (int j = 0; j < 32; j++) {
        float x = src[from + j] * inverse;
        dst[to + 2 + j] = (byte) (x < 0 ? -roundHalfUp(-x) : roundHalfUp(x));
      }
    }
  }

  /** For x >= 0. The sum is exact in double, where x + 0.5f could round up. */
  private static int roundHalfUp(float x) {
    return (int) (x + 0.5);
  }
}
