package org.rlhf4j.checkpoint;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import org.rlhf4j.InputException;

/**
 * Reads a GGUF file's head from front to back; running past the end is an InputException that says
 * where.
 */
final class GgufCursor {
  private final MappedFile file;
  private final ByteBuffer bytes;

  GgufCursor(MappedFile file) {
    this.file = file;
    // The head is far below 2 GiB, and a ByteBuffer is faster than a MemorySegment before the code
    // is compiled.
    long head = Math.min(file.bytes.byteSize(), Integer.MAX_VALUE);
    this.bytes = file.bytes.asSlice(0, head).asByteBuffer().order(ByteOrder.LITTLE_ENDIAN);
  }

  long position() {
    return bytes.position();
  }

  byte i8() {
    return need(1).get();
  }

  short i16() {
    return need(2).getShort();
  }

  int i32() {
    return need(4).getInt();
  }

  long i64() {
    return need(8).getLong();
  }

  float f32() {
    return need(4).getFloat();
  }

  double f64() {
    return need(8).getDouble();
  }

  /** A 64-bit length and so many bytes of UTF-8. */
  String string() {
    int length = count("string", 1);
    byte[] text = new byte[length];
    bytes.get(text);
    return new String(text, StandardCharsets.UTF_8);
  }

  /**
   * A 64-bit number of items, each of which takes at least {@code itemBytes}: a number that the
   * rest of the file cannot hold is refused here, before anyone allocates room for it.
   */
  int count(String what, int itemBytes) {
    long count = i64();
    int left = bytes.remaining();
    if (count < 0 || count > left / itemBytes) {
      throw InputException.at(
          file.path,
          "at byte "
              + (position() - 8)
              + ": a "
              + what
              + " of "
              + Long.toUnsignedString(count)
              + " items does not fit in the "
              + left
              + " bytes that follow (is the file truncated?)");
    }
    return (int) count;
  }

  private ByteBuffer need(int length) {
    if (length > bytes.remaining()) {
      throw InputException.at(
          file.path,
          "truncated: expected "
              + length
              + " bytes at byte "
              + bytes.position()
              + ", the file ends at "
              + bytes.limit());
    }
    return bytes;
  }
}
