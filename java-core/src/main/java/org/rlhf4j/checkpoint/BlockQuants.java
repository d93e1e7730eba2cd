package org.rlhf4j.checkpoint;

/**
 * GGML's quantisations with blocks of 32: a scale d (f16), for the {@code _1} kinds a minimum m
 * (f16), and 4, 5 or 8 bits per element. In the 4-bit part, byte j holds element j in its low half
 * and element j + 16 in its high half; a 5-bit kind adds bit j of the 32-bit word qh to element j.
 *
 * <p>Products and sums are rounded one by one, as GGML's reference and NumPy do, so values agree to
 * the last bit.
 */
final class BlockQuants {
  private BlockQuants() {}

  /** d · (q − 8): d, 16 bytes. */
  static void q4v0(byte[] src, int at, int blocks, float[] dst, int to) {
    for (int b = 0; b < blocks; b++, at += 18, to += 32) {
      float d = LittleEndian.half(src, at);
      for (int j = 0; j < 16; j++) {
        int q = src[at + 2 + j];
        dst[to + j] = d * ((q & 0xF) - 8);
        dst[to + j + 16] = d * ((q >> 4 & 0xF) - 8);
      }
    }
  }

  /** d · q + m: d, m, 16 bytes. */
  static void q4v1(byte[] src, int at, int blocks, float[] dst, int to) {
    for (int b = 0; b < blocks; b++, at += 20, to += 32) {
      float d = LittleEndian.half(src, at);
      float m = LittleEndian.half(src, at + 2);
      for (int j = 0; j < 16; j++) {
        int q = src[at + 4 + j];
        dst[to + j] = d * (q & 0xF) + m;
        dst[to + j + 16] = d * (q >> 4 & 0xF) + m;
      }
    }
  }

  /** d · (q − 16): d, qh, 16 bytes. */
  static void q5v0(byte[] src, int at, int blocks, float[] dst, int to) {
    for (int b = 0; b < blocks; b++, at += 22, to += 32) {
      float d = LittleEndian.half(src, at);
      int high = (int) LittleEndian.INT.get(src, at + 2);
      for (int j = 0; j < 16; j++) {
        int q = src[at + 6 + j];
        dst[to + j] = d * ((q & 0xF | (high >>> j & 1) << 4) - 16);
        dst[to + j + 16] = d * ((q >> 4 & 0xF | (high >>> j + 16 & 1) << 4) - 16);
      }
    }
  }

  /** d · q + m: d, m, qh, 16 bytes. */
  static void q5v1(byte[] src, int at, int blocks, float[] dst, int to) {
    for (int b = 0; b < blocks; b++, at += 24, to += 32) {
      float d = LittleEndian.half(src, at);
      float m = LittleEndian.half(src, at + 2);
      int high = (int) LittleEndian.INT.get(src, at + 4);
      for (int j = 0; j < 16; j++) {
        int q = src[at + 8 + j];
        dst[to + j] = d * (q & 0xF | (high >>> j & 1) << 4) + m;
        dst[to + j + 16] = d * (q >> 4 & 0xF | (high >>> j + 16 & 1) << 4) + m;
      }
    }
  }

  /** d · q: d, 32 signed bytes. */
  static void q8v0(byte[] src, int at, int blocks, float[] dst, int to) {
    for (int b = 0; b < blocks; b++, at += 34, to += 32) {
      float d = LittleEndian.half(src, at);
      for (int j = 0; j < 32; j++) {
        dst[to + j] = d * src[at + 2 + j];
      }
    }
  }
}
