package org.rlhf4j.checkpoint;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import org.rlhf4j.InputException;

/** Reads a GGUF file's head from front to back; running past the end is an InputException that says where. */
final class GgufCursor {
  private static final ValueLayout.OfShort SHORT = ValueLayout.JAVA_SHORT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
  private static final ValueLayout.OfInt INT = ValueLayout.JAVA_INT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
  private static final ValueLayout.OfLong LONG = ValueLayout.JAVA_LONG_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

  private final MappedFile file;
  private final long size;
  private long at;

  GgufCursor(MappedFile file) {
    this.file = file;
    this.size = file.bytes.byteSize();
  }

  long position() {
    return at;
  }

  byte i8() {
    return file.bytes.get(ValueLayout.JAVA_BYTE, advance(1));
  }

  short i16() {
    return file.bytes.get(SHORT, advance(2));
  }

  int i32() {
    return file.bytes.get(INT, advance(4));
  }

  long i64() {
    return file.bytes.get(LONG, advance(8));
  }

  float f32() {
    return Float.intBitsToFloat(i32());
  }

  double f64() {
    return Double.longBitsToDouble(i64());
  }

  /** A 64-bit length and so many bytes of UTF-8. */
  String string() {
    int length = count("string", 1);
    byte[] bytes = new byte[length];
    MemorySegment.copy(file.bytes, ValueLayout.JAVA_BYTE, advance(length), bytes, 0, length);
    return new String(bytes, StandardCharsets.UTF_8);
  }

  /**
   * A 64-bit number of items, each of which takes at least {@code itemBytes}: a number that the rest of the file cannot
   * hold is refused here, before anyone allocates room for it.
   */
  int count(String what, int itemBytes) {
    long count = i64();
    if (count < 0 || count > (size - at) / itemBytes || count > Integer.MAX_VALUE - 8) {
      throw InputException.at(
          file.path,
          "at byte " + (at - 8) + ": a " + what + " of " + Long.toUnsignedString(count) + " items does not fit in the "
              + (size - at) + " bytes that follow (is the file truncated?)");
    }
    return (int) count;
  }

  private long advance(long bytes) {
    if (bytes > size - at) {
      throw InputException.at(
          file.path, "truncated: expected " + bytes + " bytes at byte " + at + ", the file ends at " + size);
    }
    long from = at;
    at += bytes;
    return from;
  }
}
