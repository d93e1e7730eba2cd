package org.rlhf4j.checkpoint;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.lang.foreign.ValueLayout;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.rlhf4j.InputException;

class GgufTest {
  @TempDir Path folder;

  /** Random blocks with finite scales. */
  private static byte[] blocks(StorageType type, int blocks, Random random) {
    byte[] data = new byte[blocks * type.blockBytes];
    random.nextBytes(data);
    int[] halves =
        switch (type) {
          case Q4_0, Q5_0, Q8_0 -> new int[] {0};
          case Q4_1, Q5_1, Q4_K, Q5_K -> new int[] {0, 2};
          case Q2_K -> new int[] {80, 82};
          case Q3_K -> new int[] {108};
          case Q6_K -> new int[] {208};
          default -> new int[0];
        };
    for (int b = 0; b < blocks; b++) {
      for (int half : halves) {
        LittleEndian.SHORT.set(
            data, b * type.blockBytes + half, Float.floatToFloat16(random.nextFloat() - 0.5f));
      }
    }
    return data;
  }

  @ParameterizedTest
  @EnumSource(
      names = {"Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"})
  void everyQuantisationDequantisesExactly(StorageType type) throws IOException {
    Random random = new Random(type.ordinal());
    int rows = 37;
    long[] shape = {rows, 3L * type.blockElements};
    byte[] data = blocks(type, rows * 3, random);
    Path file =
        new GgufBuilder()
            .floats("other", new long[] {1}, 5f)
            .tensor("t", shape, type.ggufId, data)
            .write(folder.resolve("q.gguf"));
    try (GgufFile gguf = GgufFile.open(file)) {
      StoredTensor tensor = gguf.tensor("t");
      assertEquals(type.name(), tensor.storedType());
      assertArrayEquals(shape, tensor.shape());
      assertArrayEquals(data, tensor.bytes().toArray(ValueLayout.JAVA_BYTE));
      float[] expected = new float[(int) tensor.elements()];
      for (int i = 0; i < expected.length; i++) {
        expected[i] = ReferenceDequantizer.element(type, data, i);
      }
      assertArrayEquals(expected, SafetensorsTest.all(tensor)); // to the last bit
      SafetensorsTest.checkRanges(tensor, expected, random);
    }
  }

  @Test
  void metadataOfEveryType() throws IOException {
    byte[] nested = {9, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 7, 8};
    GgufBuilder builder =
        new GgufBuilder()
            .raw("u8", 0, new byte[] {-1})
            .raw("i8", 1, new byte[] {-1})
            .raw("u16", 2, new byte[] {-1, -1})
            .raw("i16", 3, new byte[] {-2, -1})
            .u32("u32", 0xFFFFFFFFL)
            .raw("i32", 5, new byte[] {-3, -1, -1, -1})
            .f32("f32", 1.5f)
            .bool("bool", true)
            .text("text", "gr\u00fc\u00dfe")
            .texts("texts", "a", "")
            .i32s("i32s", 1, -2)
            .raw("nested", 9, nested)
            .raw("u64", 10, new byte[] {1, 0, 0, 0, 1, 0, 0, 0})
            .raw("i64", 11, new byte[] {-4, -1, -1, -1, -1, -1, -1, -1})
            .raw("f64", 12, new byte[] {0, 0, 0, 0, 0, 0, -8, 63});
    for (int version : new int[] {2, 3}) {
      builder.version = version;
      try (GgufFile gguf = GgufFile.open(builder.write(folder.resolve("m.gguf")))) {
        GgufMetadata m = gguf.metadata();
        assertEquals(version, gguf.version());
        assertEquals(255L, m.require("u8", Long.class));
        assertEquals(-1L, m.require("i8", Long.class));
        assertEquals(65535L, m.require("u16", Long.class));
        assertEquals(-2L, m.require("i16", Long.class));
        assertEquals(4294967295L, m.require("u32", Long.class));
        assertEquals(-3L, m.require("i32", Long.class));
        assertEquals(1.5f, m.require("f32", Float.class));
        assertEquals(true, m.require("bool", Boolean.class));
        assertEquals("gr\u00fc\u00dfe", m.require("text", String.class));
        assertArrayEquals(new String[] {"a", ""}, m.require("texts", String[].class));
        assertArrayEquals(new long[] {1, -2}, m.require("i32s", long[].class));
        assertArrayEquals(new Object[] {new long[] {7, 8}}, m.require("nested", Object[].class));
        assertEquals(0x100000001L, m.require("u64", Long.class));
        assertEquals(-4L, m.require("i64", Long.class));
        assertEquals(1.5, m.require("f64", Double.class));
        assertTrue(
            assertThrows(InputException.class, () -> m.require("f32", String.class))
                .getMessage()
                .contains("found Float"));
        assertTrue(
            assertThrows(InputException.class, () -> m.require("u33", Long.class))
                .getMessage()
                .contains("u32"));
      }
    }
  }

  private static GgufBuilder small() {
    return new GgufBuilder()
        .u32("a.number", 7)
        .texts("a.list", "x", "yz")
        .floats("t", new long[] {2, 3}, new float[6])
        .tensor("q", new long[] {32}, 2, new byte[18]);
  }

  @Test
  void truncationNeverGivesAnythingButAnInputException() throws IOException {
    byte[] bytes = small().bytes();
    GgufFile.open(Files.write(folder.resolve("cut.gguf"), bytes)).close();
    for (int length = 0; length < bytes.length; length++) {
      Path cut = Files.write(folder.resolve("cut.gguf"), Arrays.copyOf(bytes, length));
      assertThrows(InputException.class, () -> GgufFile.open(cut), "at " + length);
    }
  }

  @Test
  void damageNeverGivesAnythingButAnInputException() throws IOException {
    byte[] bytes = small().bytes();
    Random random = new Random(11);
    for (int round = 0; round < 3000; round++) {
      byte[] damaged = bytes.clone();
      for (int i = 0; i <= random.nextInt(3); i++) {
        damaged[random.nextInt(bytes.length)] =
            (byte) (random.nextBoolean() ? 0xFF : random.nextInt(256));
      }
      Path file = Files.write(folder.resolve("d.gguf"), damaged);
      try (GgufFile gguf = GgufFile.open(file)) {
        gguf.tensors().values().forEach(SafetensorsTest::all);
      } catch (InputException e) {
        assertTrue(e.getMessage().startsWith(file.toString()), e.getMessage());
      }
    }
  }

  @Test
  void faultsAreNamed() throws IOException {
    assertTrue(
        refused(new GgufBuilder().tensor("t", new long[] {256}, 16, new byte[66]))
            .contains("IQ2_XXS is not supported; expected one of F64, F32"));
    assertTrue(
        refused(new GgufBuilder().tensor("t", new long[] {2, 16}, 2, new byte[18]))
            .contains("multiple of 32"));
    assertTrue(refused(new GgufBuilder().u32("k", 1).u32("k", 2)).contains("'k' occurs twice"));
    assertTrue(
        refused(new GgufBuilder().raw("k", 13, new byte[0]))
            .contains("'k': expected a value type"));
    assertTrue(refused(new GgufBuilder().u32("general.alignment", 12)).contains("power of two"));
    GgufBuilder old = new GgufBuilder();
    old.version = 1;
    assertTrue(refused(old).contains("expected 2 or 3, found 1"));
    Path other = Files.writeString(folder.resolve("other.gguf"), "not a model at all");
    assertTrue(
        assertThrows(InputException.class, () -> GgufFile.open(other))
            .getMessage()
            .contains("not a GGUF file"));
  }

  private String refused(GgufBuilder builder) throws IOException {
    Path file = builder.write(folder.resolve("bad.gguf"));
    return assertThrows(InputException.class, () -> GgufFile.open(file)).getMessage();
  }

  @Test
  void rowsAreGivenBackTheirOrder() throws IOException {
    // Two heads of 4 rows: llama.cpp stores (head, pair, half), Hugging Face has (head, half,
    // pair).
    float[] huggingFace = new float[8 * 3];
    float[] stored = new float[8 * 3];
    for (int head = 0; head < 2; head++) {
      for (int half = 0; half < 2; half++) {
        for (int pair = 0; pair < 2; pair++) {
          for (int c = 0; c < 3; c++) {
            float value = 100 * head + 10 * half + pair + c / 8f;
            huggingFace[(head * 4 + half * 2 + pair) * 3 + c] = value;
            stored[(head * 4 + pair * 2 + half) * 3 + c] = value;
          }
        }
      }
    }
    Path file =
        new GgufBuilder().floats("t", new long[] {8, 3}, stored).write(folder.resolve("p.gguf"));
    try (GgufFile gguf = GgufFile.open(file)) {
      StoredTensor tensor = RowPermutedTensor.undoRotaryPairs("hf", gguf.tensor("t"), 4);
      assertArrayEquals(huggingFace, SafetensorsTest.all(tensor));
      assertArrayEquals(huggingFace, tensor.bytes().toArray(ValueLayout.JAVA_FLOAT));
      SafetensorsTest.checkRanges(tensor, huggingFace, new Random(5));
    }
  }

  @Test
  void threadsReadAtOnce() throws Exception {
    Random random = new Random(1);
    byte[] data = blocks(StorageType.Q4_K, 4096, random);
    Path file =
        new GgufBuilder()
            .tensor("t", new long[] {4096, 256}, 12, data)
            .write(folder.resolve("p.gguf"));
    try (GgufFile gguf = GgufFile.open(file)) {
      float[] expected = SafetensorsTest.all(gguf.tensor("t"));
      List<Thread> threads = new ArrayList<>();
      float[] together = new float[expected.length];
      for (int t = 0; t < 4; t++) {
        int first = t * expected.length / 4;
        threads.add(
            Thread.ofPlatform()
                .start(() -> gguf.tensor("t").read(first, expected.length / 4, together, first)));
      }
      for (Thread thread : threads) {
        thread.join();
      }
      assertArrayEquals(expected, together);
    }
  }
}
