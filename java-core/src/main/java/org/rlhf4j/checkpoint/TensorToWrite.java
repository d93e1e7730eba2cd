package org.rlhf4j.checkpoint;

import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteBuffer;
import java.nio.channels.WritableByteChannel;
import java.util.function.Supplier;

/**
 * A tensor on its way into a file.
 *
 * @param dtype in safetensors' words
 * @param shape row-major; empty for a scalar
 * @param byteSize what it takes in the file
 * @param content writes so many bytes, once, when all tensors before it have been written
 */
public record TensorToWrite(
    String name, String dtype, long[] shape, long byteSize, Content content) {
  /** Writes a tensor's little-endian bytes. */
  @FunctionalInterface
  public interface Content {
    void writeTo(WritableByteChannel channel) throws IOException;
  }

  private static final int CHUNK = 256 * 1024;

  /**
   * Numbers that are cast to {@code type}.
   *
   * @param values asked for consecutive ranges, in order, each exactly once
   */
  public TensorToWrite(String name, FloatType type, long[] shape, FloatSource values) {
    this(
        name,
        type.name(),
        shape,
        Math.multiplyExact(elements(name, shape), type.bytes()),
        channel -> write(channel, type, elements(name, shape), values));
  }

  /** A whole tensor that lies in an array. */
  public static TensorToWrite of(String name, FloatType type, long[] shape, float[] values) {
    if (Shapes.elements(shape) != values.length) {
      throw new IllegalArgumentException(
          name + ": shape has " + Shapes.elements(shape) + " elements, the array " + values.length);
    }
    return new TensorToWrite(
        name,
        type,
        shape,
        (first, count, into, offset) -> System.arraycopy(values, (int) first, into, offset, count));
  }

  /** A stored tensor under its own name, cast to {@code type}. */
  public static TensorToWrite of(StoredTensor tensor, FloatType type) {
    return new TensorToWrite(tensor.name(), type, tensor.shape(), tensor);
  }

  /** Bytes as they are, asked for when they are written. */
  static TensorToWrite bytes(String name, long[] shape, Supplier<MemorySegment> bytes) {
    return new TensorToWrite(
        name, "U8", shape, elements(name, shape), channel -> write(channel, bytes.get()));
  }

  /** f32 as they are, asked for when they are written. */
  static TensorToWrite floats(String name, long length, Supplier<MemorySegment> floats) {
    return new TensorToWrite(
        name,
        FloatType.F32.name(),
        new long[] {length},
        length * Float.BYTES,
        channel -> write(channel, floats.get()));
  }

  private static void write(
      WritableByteChannel channel, FloatType type, long elements, FloatSource values)
      throws IOException {
    int chunk = (int) Math.min(CHUNK, elements);
    float[] numbers = new float[chunk];
    byte[] bytes = new byte[chunk * type.bytes()];
    for (long first = 0; first < elements; first += chunk) {
      int count = (int) Math.min(chunk, elements - first);
      values.read(first, count, numbers, 0);
      type.encode(numbers, count, bytes, 0);
      writeFully(channel, ByteBuffer.wrap(bytes, 0, count * type.bytes()));
    }
  }

  private static void write(WritableByteChannel channel, MemorySegment bytes) throws IOException {
    for (long at = 0; at < bytes.byteSize(); at += CHUNK) {
      long length = Math.min(CHUNK, bytes.byteSize() - at);
      byte[] chunk = bytes.asSlice(at, length).toArray(ValueLayout.JAVA_BYTE);
      writeFully(channel, ByteBuffer.wrap(chunk));
    }
  }

  private static void writeFully(WritableByteChannel channel, ByteBuffer buffer)
      throws IOException {
    while (buffer.hasRemaining()) {
      channel.write(buffer);
    }
  }

  private static long elements(String name, long[] shape) {
    long elements = Shapes.elements(shape);
    if (elements < 0) {
      throw new IllegalArgumentException(name + ": impossible shape");
    }
    return elements;
  }
}
