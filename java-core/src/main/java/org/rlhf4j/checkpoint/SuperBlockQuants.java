package org.rlhf4j.checkpoint;

/**
 * GGML's K-quantisations: super-blocks of 256 elements in 8 or 16 groups, whose scales (and minima)
 * are themselves small integers times the super-block's f16 factors d (and dmin). Bit layouts
 * follow ggml-quants; rounding is as in {@link BlockQuants}.
 */
final class SuperBlockQuants {
  private SuperBlockQuants() {}

  /** Groups of 16, 2 bits: scales[16] (low half scale, high half minimum), qs[64], d, dmin. */
  static void q2k(byte[] src, int at, int blocks, float[] dst, int to) {
    for (int b = 0; b < blocks; b++, at += 84) {
      float d = LittleEndian.half(src, at + 80);
      float dmin = LittleEndian.half(src, at + 82);
      for (int group = 0; group < 16; group++, to += 16) {
        float scale = d * (src[at + group] & 0xF);
        float min = dmin * (src[at + group] >> 4 & 0xF);
        // Each half of 128 elements packs four planes of 2 bits into 32 bytes.
        int q = at + 16 + (group >> 3) * 32 + (group & 1) * 16;
        int shift = (group >> 1 & 3) * 2;
        for (int l = 0; l < 16; l++) {
          dst[to + l] = scale * (src[q + l] >> shift & 3) - min;
        }
      }
    }
  }

  /**
   * Groups of 16, 3 bits: hmask[32] (the third bit, inverted), qs[64], 16 scales of 6 bits in 12
   * bytes, d.
   */
  static void q3k(byte[] src, int at, int blocks, float[] dst, int to) {
    for (int b = 0; b < blocks; b++, at += 110) {
      float d = LittleEndian.half(src, at + 108);
      for (int group = 0; group < 16; group++, to += 16) {
        int low = src[at + 96 + (group & 7)] >> (group < 8 ? 0 : 4) & 0xF;
        int high = src[at + 104 + (group & 3)] >> (group >> 2) * 2 & 3;
        float scale = d * ((low | high << 4) - 32);
        int q = at + 32 + (group >> 3) * 32 + (group & 1) * 16;
        int shift = (group >> 1 & 3) * 2;
        int mask = at + (group & 1) * 16;
        int bit = group >> 1;
        for (int l = 0; l < 16; l++) {
          dst[to + l] = scale * ((src[q + l] >> shift & 3) - (~src[mask + l] >> bit & 1) * 4);
        }
      }
    }
  }

  /** Groups of 32, 4 bits: d, dmin, 8 scales and 8 minima of 6 bits in 12 bytes, qs[128]. */
  static void q4k(byte[] src, int at, int blocks, float[] dst, int to) {
    for (int b = 0; b < blocks; b++, at += 144) {
      float d = LittleEndian.half(src, at);
      float dmin = LittleEndian.half(src, at + 2);
      for (int group = 0; group < 8; group++, to += 32) {
        float scale = d * scaleOf(src, at + 4, group);
        float min = dmin * minOf(src, at + 4, group);
        int q = at + 16 + (group >> 1) * 32;
        int shift = (group & 1) * 4;
        for (int l = 0; l < 32; l++) {
          dst[to + l] = scale * (src[q + l] >> shift & 0xF) - min;
        }
      }
    }
  }

  /** As {@link #q4k} with a fifth bit: d, dmin, scales[12], qh[32], qs[128]. */
  static void q5k(byte[] src, int at, int blocks, float[] dst, int to) {
    for (int b = 0; b < blocks; b++, at += 176) {
      float d = LittleEndian.half(src, at);
      float dmin = LittleEndian.half(src, at + 2);
      for (int group = 0; group < 8; group++, to += 32) {
        float scale = d * scaleOf(src, at + 4, group);
        float min = dmin * minOf(src, at + 4, group);
        int high = at + 16;
        int q = at + 48 + (group >> 1) * 32;
        int shift = (group & 1) * 4;
        for (int l = 0; l < 32; l++) {
          dst[to + l] =
              scale * (src[q + l] >> shift & 0xF | (src[high + l] >> group & 1) << 4) - min;
        }
      }
    }
  }

  /** Groups of 16, 6 bits: ql[128], qh[64], 16 signed scales, d. */
  static void q6k(byte[] src, int at, int blocks, float[] dst, int to) {
    for (int b = 0; b < blocks; b++, at += 210) {
      float d = LittleEndian.half(src, at + 208);
      for (int group = 0; group < 16; group++, to += 16) {
        float scale = d * src[at + 192 + group];
        int plane = group >> 1 & 3; // four planes of 32 elements in each half of 128
        int low = at + (group >> 3) * 64 + (plane & 1) * 32 + (group & 1) * 16;
        int lowShift = (plane >> 1) * 4;
        int high = at + 128 + (group >> 3) * 32 + (group & 1) * 16;
        int highShift = plane * 2;
        for (int l = 0; l < 16; l++) {
          dst[to + l] =
              scale
                  * ((src[low + l] >> lowShift & 0xF | (src[high + l] >> highShift & 3) << 4) - 32);
        }
      }
    }
  }

  /** Scale {@code j} of 8 in the 12 packed bytes at {@code at}. */
  private static int scaleOf(byte[] src, int at, int j) {
    return j < 4 ? src[at + j] & 63 : src[at + j + 4] & 0xF | (src[at + j - 4] >> 6 & 3) << 4;
  }

  /** Minimum {@code j} of 8 in the 12 packed bytes at {@code at}. */
  private static int minOf(byte[] src, int at, int j) {
    return j < 4 ? src[at + j + 4] & 63 : src[at + j + 4] >> 4 & 0xF | (src[at + j] >> 6 & 3) << 4;
  }
}
