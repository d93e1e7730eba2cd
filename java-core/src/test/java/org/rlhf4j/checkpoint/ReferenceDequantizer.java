package org.rlhf4j.checkpoint;

/**
 * GGML's block formats, element by element: for one element of a block, where its bits lie and what
 * they are multiplied with. Slow and independent of the decoders under test, which go group by
 * group.
 */
final class ReferenceDequantizer {
  private ReferenceDequantizer() {}

  static float element(StorageType type, byte[] src, long element) {
    int at = (int) (element / type.blockElements) * type.blockBytes;
    int i = (int) (element % type.blockElements);
    return switch (type) {
      case Q4_0 -> half(src, at) * (nibble32(src, at + 2, i) - 8);
      case Q4_1 -> half(src, at) * nibble32(src, at + 4, i) + half(src, at + 2);
      case Q5_0 -> half(src, at) * (nibble32(src, at + 6, i) + 16 * bit(src, at + 2, i) - 16);
      case Q5_1 ->
          half(src, at) * (nibble32(src, at + 8, i) + 16 * bit(src, at + 4, i)) + half(src, at + 2);
      case Q8_0 -> half(src, at) * src[at + 2 + i];
      case Q2_K -> {
        int scale = u8(src, at + i / 16);
        int q = u8(src, at + 16 + i / 128 * 32 + i % 32) >> i % 128 / 32 * 2 & 3;
        float dl = half(src, at + 80) * (scale % 16);
        float ml = half(src, at + 82) * (scale / 16);
        yield dl * q - ml;
      }
      case Q3_K -> {
        int low = u8(src, at + 32 + i / 128 * 32 + i % 32) >> i % 128 / 32 * 2 & 3;
        int high = u8(src, at + i % 32) >> i / 32 & 1;
        float dl = half(src, at + 108) * (q3Scale(src, at + 96, i / 16) - 32);
        yield dl * (low + 4 * high - 4);
      }
      case Q4_K -> {
        int q = u8(src, at + 16 + i / 64 * 32 + i % 32) >> i % 64 / 32 * 4 & 15;
        float dl = half(src, at) * k4(src, at + 4, i / 32, false);
        float ml = half(src, at + 2) * k4(src, at + 4, i / 32, true);
        yield dl * q - ml;
      }
      case Q5_K -> {
        int q =
            (u8(src, at + 48 + i / 64 * 32 + i % 32) >> i % 64 / 32 * 4 & 15)
                + 16 * (u8(src, at + 16 + i % 32) >> i / 32 & 1);
        float dl = half(src, at) * k4(src, at + 4, i / 32, false);
        float ml = half(src, at + 2) * k4(src, at + 4, i / 32, true);
        yield dl * q - ml;
      }
      case Q6_K -> {
        int low = u8(src, at + i / 128 * 64 + i % 64) >> i % 128 / 64 * 4 & 15;
        int high = u8(src, at + 128 + i / 128 * 32 + i % 32) >> i % 128 / 32 * 2 & 3;
        yield half(src, at + 208) * src[at + 192 + i / 16] * (low + 16 * high - 32);
      }
      default -> throw new IllegalArgumentException(type.name());
    };
  }

  private static int u8(byte[] src, int at) {
    return src[at] & 0xFF;
  }

  private static float half(byte[] src, int at) {
    return Float.float16ToFloat((short) (u8(src, at) | u8(src, at + 1) << 8));
  }

  /** Elements 0 to 15 in the low halves of 16 bytes, 16 to 31 in the high ones. */
  private static int nibble32(byte[] src, int at, int i) {
    return i < 16 ? u8(src, at + i) % 16 : u8(src, at + i - 16) / 16;
  }

  private static int bit(byte[] src, int at, int i) {
    return u8(src, at + i / 8) >> i % 8 & 1;
  }

  /** ggml unpacks these with masks over three 32-bit words; this is the same word by word. */
  private static int q3Scale(byte[] src, int at, int group) {
    long[] words = new long[4];
    for (int w = 0; w < 3; w++) {
      words[w] =
          u8(src, at + 4 * w)
              | u8(src, at + 4 * w + 1) << 8
              | u8(src, at + 4 * w + 2) << 16
              | (long) u8(src, at + 4 * w + 3) << 24;
    }
    long mask2 = 0x03030303L;
    long mask4 = 0x0f0f0f0fL;
    long last = words[2];
    words[2] = words[0] >> 4 & mask4 | (last >> 4 & mask2) << 4;
    words[3] = words[1] >> 4 & mask4 | (last >> 6 & mask2) << 4;
    words[0] = words[0] & mask4 | (last & mask2) << 4;
    words[1] = words[1] & mask4 | (last >> 2 & mask2) << 4;
    return (int) (words[group / 4] >> group % 4 * 8 & 0xFF);
  }

  private static int k4(byte[] src, int at, int j, boolean min) {
    if (j < 4) {
      return u8(src, at + j + (min ? 4 : 0)) % 64;
    }
    int low = min ? u8(src, at + j + 4) / 16 : u8(src, at + j + 4) % 16;
    return low + u8(src, at + (min ? j : j - 4)) / 64 * 16;
  }
}
