package org.rlhf4j.checkpoint;

/** Types with one element to a block. Integers become the nearest f32. */
final class PlainDecoders {
  private PlainDecoders() {}

  static void f64(byte[] src, int at, int blocks, float[] dst, int to) {
    for (int i = 0; i < blocks; i++) {
      dst[to + i] = (float) (double) LittleEndian.DOUBLE.get(src, at + 8 * i);
    }
  }

  static void f32(byte[] src, int at, int blocks, float[] dst, int to) {
    for (int i = 0; i < blocks; i++) {
      dst[to + i] = (float) LittleEndian.FLOAT.get(src, at + 4 * i);
    }
  }

  static void f16(byte[] src, int at, int blocks, float[] dst, int to) {
    for (int i = 0; i < blocks; i++) {
      dst[to + i] = LittleEndian.half(src, at + 2 * i);
    }
  }

  static void bf16(byte[] src, int at, int blocks, float[] dst, int to) {
    for (int i = 0; i < blocks; i++) {
      dst[to + i] = Float.intBitsToFloat((short) LittleEndian.SHORT.get(src, at + 2 * i) << 16);
    }
  }

  static void i64(byte[] src, int at, int blocks, float[] dst, int to) {
    for (int i = 0; i < blocks; i++) {
      dst[to + i] = (float) (long) LittleEndian.LONG.get(src, at + 8 * i);
    }
  }

  static void i32(byte[] src, int at, int blocks, float[] dst, int to) {
    for (int i = 0; i < blocks; i++) {
      dst[to + i] = (float) (int) LittleEndian.INT.get(src, at + 4 * i);
    }
  }

  static void i16(byte[] src, int at, int blocks, float[] dst, int to) {
    for (int i = 0; i < blocks; i++) {
      dst[to + i] = (short) LittleEndian.SHORT.get(src, at + 2 * i);
    }
  }

  static void i8(byte[] src, int at, int blocks, float[] dst, int to) {
    for (int i = 0; i < blocks; i++) {
      dst[to + i] = src[at + i];
    }
  }

  static void u8(byte[] src, int at, int blocks, float[] dst, int to) {
    for (int i = 0; i < blocks; i++) {
      dst[to + i] = src[at + i] & 0xFF;
    }
  }
}
