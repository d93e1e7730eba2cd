package org.rlhf4j.checkpoint;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.rlhf4j.InputException;
import org.rlhf4j.testing.Golden;

class SafetensorsTest {
  @TempDir Path folder;

  @Test
  void randomFilesRoundTrip() throws IOException {
    Random random = new Random(7);
    for (int round = 0; round < 40; round++) {
      List<TensorToWrite> tensors = new ArrayList<>();
      List<float[]> expected = new ArrayList<>();
      for (int t = 0; t < random.nextInt(6); t++) {
        long[] shape = random.ints(random.nextInt(4), 0, 7).asLongStream().toArray();
        FloatType type = FloatType.values()[random.nextInt(3)];
        float[] values = new float[(int) Arrays.stream(shape).reduce(1, (a, b) -> a * b)];
        for (int i = 0; i < values.length; i++) {
          // Numbers that every type holds exactly, so that the round trip must be exact too.
          values[i] = (random.nextInt(256) - 128) / 16f;
        }
        expected.add(values);
        tensors.add(TensorToWrite.of("tensor." + t + ".\u00e9", type, shape, values));
      }
      Path file = folder.resolve("r.safetensors");
      SafetensorsWriter.write(file, tensors);
      try (SafetensorsFile read = SafetensorsFile.open(file)) {
        assertEquals(Map.of("format", "pt"), read.metadata());
        assertEquals(
            tensors.stream().map(TensorToWrite::name).toList(),
            List.copyOf(read.tensors().keySet()));
        for (int t = 0; t < tensors.size(); t++) {
          StoredTensor tensor = read.tensor(tensors.get(t).name());
          assertArrayEquals(tensors.get(t).shape(), tensor.shape());
          assertEquals(tensors.get(t).dtype(), tensor.storedType());
          assertArrayEquals(expected.get(t), all(tensor));
          checkRanges(tensor, expected.get(t), random);
        }
      }
    }
    try (Stream<Path> left = Files.list(folder)) {
      assertEquals(1, left.count(), "no temporary file is left");
    }
  }

  static float[] all(StoredTensor tensor) {
    float[] values = new float[(int) tensor.elements()];
    tensor.read(0, values.length, values, 0);
    return values;
  }

  /** Any range reads as the same part of the whole, and touches nothing else. */
  static void checkRanges(StoredTensor tensor, float[] expected, Random random) {
    for (int i = 0; i < 8 && expected.length > 0; i++) {
      int first = random.nextInt(expected.length);
      int count = random.nextInt(expected.length - first + 1);
      float[] into = new float[count + 5];
      Arrays.fill(into, -77f);
      tensor.read(first, count, into, 2);
      assertArrayEquals(
          Arrays.copyOfRange(expected, first, first + count),
          Arrays.copyOfRange(into, 2, 2 + count));
      assertEquals(-77f, into[1]);
      assertEquals(-77f, into[2 + count]);
    }
    assertThrows(
        IndexOutOfBoundsException.class, () -> tensor.read(expected.length, 1, new float[1], 0));
    assertThrows(
        IndexOutOfBoundsException.class,
        () -> tensor.read(0, expected.length + 1, new float[expected.length + 1], 0));
  }

  @Test
  void roundsToNearestEven() throws IOException {
    float[] values = {
      1.00390625f, 1.01171875f, 3.4e38f, Float.NaN, Float.NEGATIVE_INFINITY, -0f, 1e-45f, 65520f
    };
    Path file = folder.resolve("x.safetensors");
    SafetensorsWriter.write(
        file,
        List.of(
            TensorToWrite.of("b", FloatType.BF16, new long[] {8}, values),
            TensorToWrite.of("h", FloatType.F16, new long[] {8}, values)));
    try (SafetensorsFile read = SafetensorsFile.open(file)) {
      // 1 + 2^-8 lies between two bf16 numbers: the even one is below. 1 + 3·2^-8 goes up.
      float inf = Float.POSITIVE_INFINITY;
      assertArrayEquals(
          new float[] {1f, 1.015625f, inf, Float.NaN, -inf, -0f, 0f, 65536f},
          all(read.tensor("b")));
      assertArrayEquals(
          new float[] {1.00390625f, 1.01171875f, inf, Float.NaN, -inf, -0f, 0f, inf},
          all(read.tensor("h")));
    }
  }

  @Test
  void readsWholeNumbers() throws IOException {
    ByteBuffer data = ByteBuffer.allocate(16).order(ByteOrder.LITTLE_ENDIAN);
    data.putLong(-3).putInt(70000).put((byte) 255).put((byte) 1).putShort((short) 0);
    String header =
        "{\"a\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[0,8]},\"b\":{\"dtype\":\"I32\",\"shape\":[],\"data_offsets\":[8,12]},"
            + "\"c\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[12,16]}}";
    try (SafetensorsFile read = SafetensorsFile.open(write(header, data.array()))) {
      assertArrayEquals(new float[] {-3}, all(read.tensor("a")));
      assertArrayEquals(new float[] {70000}, all(read.tensor("b")));
      assertArrayEquals(new float[] {255, 1, 0, 0}, all(read.tensor("c")));
      assertTrue(read.tensor("a").bytes().isReadOnly());
    }
  }

  private Path write(String header, byte[] data) throws IOException {
    byte[] text = header.getBytes(StandardCharsets.UTF_8);
    ByteBuffer all =
        ByteBuffer.allocate(8 + text.length + data.length).order(ByteOrder.LITTLE_ENDIAN);
    all.putLong(text.length).put(text).put(data);
    return Files.write(folder.resolve("hand.safetensors"), all.array());
  }

  @Test
  void badHeadersAreRefused() throws IOException {
    String ok = "\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}";
    for (String header :
        new String[] {
          "[]",
          "nonsense",
          "{",
          "{\"a\":3}",
          "{" + ok + "," + ok + "}",
          "{\"a\":{\"dtype\":\"F8_E4M3\",\"shape\":[4],\"data_offsets\":[0,4]}}",
          "{\"a\":{\"dtype\":\"Q4_0\",\"shape\":[4],\"data_offsets\":[0,4]}}",
          "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}",
          "{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}",
          "{\"a\":{\"dtype\":\"F32\",\"shape\":[1.0],\"data_offsets\":[0,4]}}",
          "{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387905,4],\"data_offsets\":[0,4]}}",
          "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,8]}}",
          "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}",
          "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4]}}",
          "{\"a\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}}",
          "{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[2,4]}}",
          "{\"a\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[0,3]},\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[2,4]}}",
          "{\"__metadata__\":{\"x\":1}," + ok + "}",
          "{\"__metadata__\":{\"x\":\"y\"}}"
        }) {
      Path file = write(header, new byte[4]);
      InputException e =
          assertThrows(InputException.class, () -> SafetensorsFile.open(file), header);
      assertTrue(e.getMessage().startsWith(file + ": "), e.getMessage());
    }
    SafetensorsFile.open(write("{" + ok + "}", new byte[4])).close();
  }

  @Test
  void truncationNeverGivesAnythingButAnInputException() throws IOException {
    Path whole = folder.resolve("w.safetensors");
    SafetensorsWriter.write(
        whole, List.of(TensorToWrite.of("a", FloatType.F32, new long[] {2, 3}, new float[6])));
    byte[] bytes = Files.readAllBytes(whole);
    for (int length = 0; length < bytes.length; length++) {
      Path cut = Files.write(folder.resolve("cut.safetensors"), Arrays.copyOf(bytes, length));
      assertThrows(InputException.class, () -> SafetensorsFile.open(cut), "at " + length);
    }
    Path longer =
        Files.write(folder.resolve("cut.safetensors"), Arrays.copyOf(bytes, bytes.length + 1));
    assertThrows(InputException.class, () -> SafetensorsFile.open(longer));
  }

  @Test
  void damagedHeadersNeverGiveAnythingButAnInputException() throws IOException {
    Path whole = folder.resolve("w.safetensors");
    SafetensorsWriter.write(
        whole, List.of(TensorToWrite.of("a", FloatType.F32, new long[] {2, 3}, new float[6])));
    byte[] bytes = Files.readAllBytes(whole);
    Random random = new Random(3);
    for (int round = 0; round < 2000; round++) {
      byte[] damaged = bytes.clone();
      damaged[random.nextInt(bytes.length - 24)] = (byte) random.nextInt(256);
      Path file = Files.write(folder.resolve("d.safetensors"), damaged);
      try (SafetensorsFile read = SafetensorsFile.open(file)) {
        read.tensors().values().forEach(SafetensorsTest::all);
      } catch (InputException e) {
        assertTrue(e.getMessage().startsWith(file.toString()));
      }
    }
  }

  @Test
  void aFailedWriteLeavesTheOldFile() throws IOException {
    Path file = folder.resolve("x.safetensors");
    SafetensorsWriter.write(
        file, List.of(TensorToWrite.of("a", FloatType.F32, new long[] {1}, new float[] {5})));
    TensorToWrite failing =
        new TensorToWrite(
            "b",
            FloatType.F32,
            new long[] {1},
            (first, count, into, offset) -> {
              throw new IllegalStateException("device lost");
            });
    assertThrows(
        IllegalStateException.class, () -> SafetensorsWriter.write(file, List.of(failing)));
    try (SafetensorsFile read = SafetensorsFile.open(file)) {
      assertArrayEquals(new float[] {5}, all(read.tensor("a")));
    }
    try (Stream<Path> left = Files.list(folder)) {
      assertEquals(1, left.count());
    }
    TensorToWrite twice = TensorToWrite.of("a", FloatType.F32, new long[] {0}, new float[0]);
    assertThrows(
        IllegalArgumentException.class, () -> SafetensorsWriter.write(file, List.of(twice, twice)));
  }

  @Test
  void readsWhatTheReferenceWrote() {
    try (SafetensorsFile golden = Golden.tensors("models/llama/golden.safetensors")) {
      assertFalse(golden.tensors().isEmpty());
      for (StoredTensor tensor : golden.tensors().values()) {
        for (float value : all(tensor)) {
          assertTrue(Float.isFinite(value), tensor.name());
        }
      }
    }
  }

  @Test
  void closingUnmaps() throws IOException {
    Path file = folder.resolve("x.safetensors");
    SafetensorsWriter.write(
        file, List.of(TensorToWrite.of("a", FloatType.F16, new long[] {1}, new float[] {5})));
    SafetensorsFile read = SafetensorsFile.open(file);
    StoredTensor tensor = read.tensor("a");
    read.close();
    read.close();
    assertThrows(IllegalStateException.class, () -> all(tensor));
  }
}
