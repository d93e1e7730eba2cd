package org.rlhf4j.checkpoint;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * Writes a GGUF file of version 3: metadata, the table of tensors, then their data, each at a
 * multiple of 32 bytes. Tensors are streamed in the order given, so memory use does not depend on
 * their size; equal input gives equal bytes. The file appears whole or not at all ({@link
 * AtomicFile}).
 */
final class GgufWriter {
  private static final int MAGIC = 0x46554747; // "GGUF"
  private static final int VERSION = 3;
  private static final int ALIGNMENT = 32; // the format's default, which needs no key
  private static final int MAX_NAME_BYTES = 63; // ggml keeps 64 with the zero at the end

  /** A whole number of every type's blocks. */
  private static final int CHUNK = 256 * 1024;

  private final ByteArrayOutputStream head = new ByteArrayOutputStream();

  private GgufWriter() {}

  /**
   * @param metadata in the types that {@link GgufMetadata} gives. Whole numbers are written as
   *     uint32, and those of lists as int32, which is what llama.cpp expects of every key here
   */
  static void write(Path file, Map<String, Object> metadata, List<GgufTensor> tensors)
      throws IOException {
    GgufWriter writer = new GgufWriter();
    writer.i32(MAGIC);
    writer.i32(VERSION);
    writer.i64(tensors.size());
    writer.i64(metadata.size());
    metadata.forEach(writer::entry);
    writer.table(tensors);
    AtomicFile.write(file, channel -> writer.writeTo(channel, tensors));
  }

  private void entry(String key, Object value) {
    string(key);
    switch (value) {
      case Long number -> {
        i32(4);
        i32(uint32(key, number));
      }
      case Float number -> {
        i32(6);
        i32(Float.floatToRawIntBits(number));
      }
      case Boolean flag -> {
        i32(7);
        head.write(flag ? 1 : 0);
      }
      case String text -> {
        i32(8);
        string(text);
      }
      case String[] texts -> {
        list(8, texts.length);
        for (String text : texts) {
          string(text);
        }
      }
      case float[] numbers -> {
        list(6, numbers.length);
        for (float number : numbers) {
          i32(Float.floatToRawIntBits(number));
        }
      }
      case long[] numbers -> {
        list(5, numbers.length);
        for (long number : numbers) {
          i32(Math.toIntExact(number));
        }
      }
      default ->
          throw new IllegalArgumentException(
              key + ": a " + value.getClass().getSimpleName() + " cannot be written");
    }
  }

  private static int uint32(String key, long number) {
    if (number < 0 || number > 0xFFFF_FFFFL) {
      throw new IllegalArgumentException(key + ": " + number + " is not of uint32 range");
    }
    return (int) number;
  }

  private void list(int type, int length) {
    i32(9);
    i32(type);
    i64(length);
  }

  private void table(List<GgufTensor> tensors) {
    Set<String> names = new HashSet<>();
    long offset = 0;
    for (GgufTensor tensor : tensors) {
      int nameBytes = tensor.name().getBytes(StandardCharsets.UTF_8).length;
      if (!names.add(tensor.name()) || nameBytes > MAX_NAME_BYTES) {
        throw new IllegalArgumentException(
            "tensor '" + tensor.name() + "': two of that name, or more than 63 bytes");
      }
      string(tensor.name());
      i32(tensor.shape().length);
      for (int i = tensor.shape().length - 1; i >= 0; i--) {
        i64(tensor.shape()[i]);
      }
      i32(tensor.type().storage().ggufId);
      i64(offset);
      offset += tensor.byteSize() + padding(tensor.byteSize());
    }
  }

  private void writeTo(FileChannel channel, List<GgufTensor> tensors) throws IOException {
    head.writeBytes(new byte[padding(head.size())]);
    writeFully(channel, head.toByteArray(), head.size());
    float[] values = new float[CHUNK];
    byte[] bytes = new byte[CHUNK * 4];
    for (GgufTensor tensor : tensors) {
      long elements = Shapes.elements(tensor.shape());
      for (long first = 0; first < elements; first += CHUNK) {
        int count = (int) Math.min(CHUNK, elements - first);
        tensor.values().read(first, count, values, 0);
        writeFully(channel, bytes, tensor.type().encode(values, count, bytes));
      }
      writeFully(channel, new byte[ALIGNMENT], padding(tensor.byteSize()));
    }
  }

  private static int padding(long bytes) {
    return (int) (-bytes & ALIGNMENT - 1);
  }

  private void string(String text) {
    byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
    i64(bytes.length);
    head.writeBytes(bytes);
  }

  private void i32(int value) {
    byte[] bytes = new byte[4];
    LittleEndian.INT.set(bytes, 0, value);
    head.writeBytes(bytes);
  }

  private void i64(long value) {
    byte[] bytes = new byte[8];
    LittleEndian.LONG.set(bytes, 0, value);
    head.writeBytes(bytes);
  }

  private static void writeFully(FileChannel channel, byte[] bytes, int length) throws IOException {
    ByteBuffer buffer = ByteBuffer.wrap(bytes, 0, length);
    while (buffer.hasRemaining()) {
      channel.write(buffer);
    }
  }
}
