package org.rlhf4j.checkpoint;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/** Writes GGUF files for tests, byte by byte as the format's description says. */
final class GgufBuilder {
  private final ByteArrayOutputStream metadata = new ByteArrayOutputStream();
  private final List<Tensor> tensors = new ArrayList<>();
  private int keys;
  int version = 3;

  private record Tensor(String name, long[] shape, int type, byte[] data) {}

  /** The low {@code size} bytes of a number. */
  private static byte[] little(int size, long value) {
    return Arrays.copyOf(
        ByteBuffer.allocate(8).order(ByteOrder.LITTLE_ENDIAN).putLong(0, value).array(), size);
  }

  private static void string(ByteArrayOutputStream out, String text) {
    byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
    out.writeBytes(little(8, bytes.length));
    out.writeBytes(bytes);
  }

  /** A value that is already in the file's form. */
  GgufBuilder raw(String key, int type, byte[] value) {
    string(metadata, key);
    metadata.writeBytes(little(4, type));
    metadata.writeBytes(value);
    keys++;
    return this;
  }

  GgufBuilder u32(String key, long value) {
    return raw(key, 4, little(4, value));
  }

  GgufBuilder f32(String key, float value) {
    return raw(key, 6, little(4, Float.floatToRawIntBits(value)));
  }

  GgufBuilder bool(String key, boolean value) {
    return raw(key, 7, new byte[] {(byte) (value ? 1 : 0)});
  }

  GgufBuilder text(String key, String value) {
    ByteArrayOutputStream out = new ByteArrayOutputStream();
    string(out, value);
    return raw(key, 8, out.toByteArray());
  }

  GgufBuilder texts(String key, String... values) {
    ByteArrayOutputStream out = new ByteArrayOutputStream();
    out.writeBytes(little(4, 8));
    out.writeBytes(little(8, values.length));
    for (String value : values) {
      string(out, value);
    }
    return raw(key, 9, out.toByteArray());
  }

  GgufBuilder i32s(String key, int... values) {
    ByteArrayOutputStream out = new ByteArrayOutputStream();
    out.writeBytes(little(4, 5));
    out.writeBytes(little(8, values.length));
    for (int value : values) {
      out.writeBytes(little(4, value));
    }
    return raw(key, 9, out.toByteArray());
  }

  /** Shape row-major, as everywhere else; the file has it in reverse. */
  GgufBuilder tensor(String name, long[] shape, int type, byte[] data) {
    tensors.add(new Tensor(name, shape, type, data));
    return this;
  }

  GgufBuilder floats(String name, long[] shape, float... values) {
    ByteBuffer data = ByteBuffer.allocate(values.length * 4).order(ByteOrder.LITTLE_ENDIAN);
    for (float value : values) {
      data.putFloat(value);
    }
    return tensor(name, shape, 0, data.array());
  }

  byte[] bytes() {
    ByteArrayOutputStream out = new ByteArrayOutputStream();
    out.writeBytes("GGUF".getBytes(StandardCharsets.US_ASCII));
    out.writeBytes(little(4, version));
    out.writeBytes(little(8, tensors.size()));
    out.writeBytes(little(8, keys));
    out.writeBytes(metadata.toByteArray());
    long offset = 0;
    for (Tensor tensor : tensors) {
      string(out, tensor.name);
      out.writeBytes(little(4, tensor.shape.length));
      for (int i = tensor.shape.length - 1; i >= 0; i--) {
        out.writeBytes(little(8, tensor.shape[i]));
      }
      out.writeBytes(little(4, tensor.type));
      out.writeBytes(little(8, offset));
      offset += (tensor.data.length + 31) / 32 * 32;
    }
    for (Tensor tensor : tensors) {
      out.writeBytes(new byte[(32 - out.size() % 32) % 32]);
      out.writeBytes(tensor.data);
    }
    return out.toByteArray();
  }

  Path write(Path file) throws IOException {
    return Files.write(file, bytes());
  }
}
