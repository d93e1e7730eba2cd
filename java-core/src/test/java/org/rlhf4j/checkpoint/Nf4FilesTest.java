package org.rlhf4j.checkpoint;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.Set;
import java.util.function.UnaryOperator;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import org.rlhf4j.InputException;
import org.rlhf4j.json.Json;
import org.rlhf4j.testing.Golden;
import org.rlhf4j.testing.Nf4Models;

/** NF4 in safetensors as transformers and bitsandbytes keep it: src/test/resources/nf4. */
class Nf4FilesTest {
  private static final String DOWN = "model.layers.0.mlp.down_proj.weight";

  @TempDir Path work;

  @ParameterizedTest
  @ValueSource(strings = {"nf4", "nf4-double"})
  void aQuantisedMatrixIsOneTensor(String kind) {
    try (ModelFiles plain = ModelFiles.open(Nf4Models.path("bf16"));
        ModelFiles model = ModelFiles.open(Nf4Models.path(kind))) {
      assertEquals(kind, model.quantization().text());
      assertEquals(Quantization.NONE, plain.quantization());
      assertEquals(plain.tensors().keySet(), model.tensors().keySet());
      for (StoredTensor t : plain.tensors().values()) {
        StoredTensor q = model.tensor(t.name());
        assertArrayEquals(t.shape(), q.shape(), t.name());
        boolean matrix = t.name().contains("_proj.");
        assertEquals(matrix ? Quantization.parse(kind).name() : "BF16", q.storedType(), t.name());
        if (matrix) {
          assertEquals(FloatType.BF16, ((Nf4Tensor) q).original());
          // A level is at most 0.14 from what it stands for, in units of the block's scale.
          float[] want = floats(t);
          float[] got = floats(q);
          for (int i = 0; i < want.length; i++) {
            assertEquals(want[i], got[i], 0.2 * 0.5, t.name() + " " + i);
          }
        }
        assertEquals(q.byteSize(), q.bytes().byteSize());
      }
    }
  }

  /** Against bitsandbytes' own dequantisation. */
  @ParameterizedTest
  @CsvSource({"0, 64, 64", "2, 80, 256"})
  void readsWhatBitsAndBytesReads(int index, long rows, long cols) {
    try (SafetensorsFile golden = Golden.tensors("nf4.safetensors")) {
      for (String kind : List.of("single", "double")) {
        String prefix = index + "/" + kind + ".";
        Nf4Scales scales =
            kind.equals("single")
                ? new Nf4Scales.Plain(golden.tensor(prefix + "absmax").bytes())
                : new Nf4Scales.Nested(
                    golden.tensor(prefix + "absmax").bytes(),
                    golden.tensor(prefix + "nested_code").bytes(),
                    golden.tensor(prefix + "nested_absmax").bytes(),
                    Golden.floats(golden, prefix + "offset")[0]);
        MemorySegment codes = golden.tensor(prefix + "packed").bytes();
        long[] shape = {rows, cols};
        Nf4Tensor t = new Nf4Tensor("w", shape, codes, scales, FloatType.F32);
        assertArrayEquals(Golden.floats(golden, prefix + "dequantized"), floats(t), kind);
      }
    }
  }

  /**
   * Blocks run over the ends of rows of 160, as bitsandbytes quantises them. (On a CPU its 0.50.2
   * dequantises such a matrix with other blocks' scales, so the original is what we compare with.)
   */
  @Test
  void blocksRunOverTheEndsOfRows() {
    try (SafetensorsFile golden = Golden.tensors("nf4.safetensors")) {
      float[] absmax = Golden.floats(golden, "1/single.absmax");
      Nf4Tensor t =
          new Nf4Tensor(
              "w",
              new long[] {96, 160},
              golden.tensor("1/single.packed").bytes(),
              new Nf4Scales.Plain(golden.tensor("1/single.absmax").bytes()),
              FloatType.F32);
      float[] want = Golden.floats(golden, "1/w");
      float[] got = floats(t);
      for (int i = 0; i < want.length; i++) {
        // Half of the widest gap between two levels.
        assertEquals(want[i], got[i], 0.152 * absmax[i / 64], "element " + i);
      }
    }
  }

  /** Any range, at any alignment, is that range of the whole. */
  @Test
  void readsAnyRange() {
    Random random = new Random(7);
    Nf4Tensor t = random(random, 13, 37, true);
    float[] whole = floats(t);
    for (int trial = 0; trial < 500; trial++) {
      int first = random.nextInt(whole.length + 1);
      int count = random.nextInt(whole.length - first + 1);
      float[] got = new float[count + 3];
      t.read(first, count, got, 2);
      for (int i = 0; i < count; i++) {
        assertEquals(whole[first + i], got[2 + i]);
      }
    }
    assertThrows(IndexOutOfBoundsException.class, () -> t.read(480, 2, new float[2], 0));
    assertThrows(IndexOutOfBoundsException.class, () -> t.read(0, 2, new float[1], 0));
  }

  /** Up to the last bit of the mean, which torch adds up in another order. */
  @Test
  void doubleQuantisationOfScalesIsBitsAndBytes() {
    try (SafetensorsFile golden = Golden.tensors("nf4.safetensors")) {
      for (int i = 0; i < 3; i++) {
        String prefix = i + "/double.";
        check(
            new Nf4Scales.Nested(
                golden.tensor(prefix + "absmax").bytes(),
                golden.tensor(prefix + "nested_code").bytes(),
                golden.tensor(prefix + "nested_absmax").bytes(),
                Golden.floats(golden, prefix + "offset")[0]),
            new Nf4Scales.Plain(golden.tensor(i + "/single.absmax").bytes()).nested());
      }
    }
    try (ModelFiles nf4 = ModelFiles.open(Nf4Models.path("nf4"));
        ModelFiles twice = ModelFiles.open(Nf4Models.path("nf4-double"))) {
      for (StoredTensor t : nf4.tensors().values()) {
        if (t instanceof Nf4Tensor q) {
          Nf4Tensor want = (Nf4Tensor) twice.tensor(t.name());
          same(want.codes(), q.withScales(true).codes());
          check(want.scales().nested(), q.scales().nested());
        }
      }
    }
  }

  private static void check(Nf4Scales.Nested want, Nf4Scales.Nested got) {
    assertEquals(want.offset(), got.offset(), Math.ulp(want.offset()));
    same(want.code(), got.code());
    same(want.absmax(), got.absmax());
    float[] wanted = want.nestedAbsmax().toArray(Nf4Scales.FLOAT);
    float[] found = got.nestedAbsmax().toArray(Nf4Scales.FLOAT);
    for (int i = 0; i < wanted.length; i++) {
      assertEquals(wanted[i], found[i], Math.ulp(want.offset()));
    }
  }

  /** Scales that are all equal leave nothing to quantise. */
  @Test
  void scalesWithoutSpread() {
    Nf4Scales.Plain equal = new Nf4Scales.Plain(MemorySegment.ofArray(new float[] {3, 3, 3}));
    float[] back = new float[3];
    equal.nested().read(0, back);
    assertArrayEquals(new float[] {3, 3, 3}, back);
  }

  /** What is read is written as it was, byte for byte, with transformers' names. */
  @ParameterizedTest
  @ValueSource(strings = {"nf4", "nf4-double"})
  void writesWhatTransformersWrites(String kind) throws IOException {
    Path out = work.resolve("model.safetensors");
    try (ModelFiles model = ModelFiles.open(Nf4Models.path(kind))) {
      List<TensorToWrite> tensors = new ArrayList<>();
      for (StoredTensor t : model.tensors().values()) {
        if (t instanceof Nf4Tensor q) {
          tensors.addAll(
              BitsAndBytes.split(
                  q.name(), q.shape(), q.scales().isNested(), q.original(), () -> q));
        } else {
          tensors.add(TensorToWrite.of(t, FloatType.BF16));
        }
      }
      SafetensorsWriter.write(out, tensors);
    }
    try (SafetensorsFile want =
            SafetensorsFile.open(Nf4Models.path(kind).resolve("model.safetensors"));
        SafetensorsFile got = SafetensorsFile.open(out)) {
      assertEquals(want.tensors().keySet(), Set.copyOf(got.tensors().keySet()));
      assertEquals(want.metadata(), got.metadata());
      for (StoredTensor t : want.tensors().values()) {
        StoredTensor g = got.tensor(t.name());
        assertEquals(t.storedType(), g.storedType(), t.name());
        assertArrayEquals(t.shape(), g.shape(), t.name());
        same(t.bytes(), g.bytes());
      }
    }
    assertEquals(
        Json.readObject(Nf4Models.path(kind).resolve("config.json")).get("quantization_config"),
        BitsAndBytes.config(kind.equals("nf4-double"), FloatType.BF16));
  }

  @Test
  void roundTripsOfRandomMatrices() throws IOException {
    Random random = new Random(11);
    for (int trial = 0; trial < 40; trial++) {
      boolean nested = random.nextBoolean();
      Nf4Tensor t = random(random, 1 + random.nextInt(90), 1 + random.nextInt(300), nested);
      Path file = work.resolve("t" + trial + ".safetensors");
      int[] made = {0};
      SafetensorsWriter.write(
          file,
          BitsAndBytes.split(
              t.name(),
              t.shape(),
              nested,
              t.original(),
              () -> {
                made[0]++;
                return t;
              }));
      assertEquals(nested ? 2 : 1, made[0]);
      try (TensorFile back = BitsAndBytes.join(SafetensorsFile.open(file))) {
        Nf4Tensor got = (Nf4Tensor) back.tensor(t.name());
        assertEquals(1, back.tensors().size());
        assertArrayEquals(t.shape(), got.shape());
        assertEquals(t.original(), got.original());
        same(t.codes(), got.codes());
        same(t.scales().bytes(), got.scales().bytes());
        assertArrayEquals(floats(t), floats(got));
      }
    }
  }

  /** What one kind has is what the other has after its scales were quantised: codes stay. */
  @Test
  void scalesChangeKindAndCodesStay() {
    Nf4Tensor plain = random(new Random(3), 64, 640, false);
    Nf4Tensor nested = plain.withScales(true);
    same(plain.codes(), nested.codes());
    assertTrue(nested.byteSize() < plain.byteSize());
    Nf4Tensor back = nested.withScales(false);
    assertArrayEquals(floats(nested), floats(back));
    assertFalse(back.scales().isNested());
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "\"nf4\" | \"fp4\" | quant_type 'fp4' is not supported",
        "\"blocksize\": 64 | \"blocksize\": 128 | blocksize 128 is not supported",
        "[64, 320] | [64, 319] | expected 10208 bytes",
        "[64, 320] | [64] | shape",
        "bfloat16 | bfloat17 | bfloat17",
        "\"nested_blocksize\": 256 | \"nested_blocksize\": 64 | nested_blocksize 64 is not supported",
        "\"nested_offset\" | \"nested_onset\" | nested_offset",
        "{ | [ | JSON object",
      })
  void otherFormsAreRefused(String from, String to, String message) throws IOException {
    Path copy = copy("nf4-double", state -> state.replace(from, to));
    InputException e = assertThrows(InputException.class, () -> ModelFiles.open(copy).close());
    assertTrue(e.getMessage().contains(message), e.getMessage());
    assertTrue(e.getMessage().contains("model.safetensors"), e.getMessage());
    assertTrue(e.getMessage().contains(DOWN), e.getMessage());
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "quant_method | gptq | 'gptq' is not supported",
        "bnb_4bit_quant_type | fp4 | 'fp4' is not supported",
        "load_in_8bit | true | load_in_8bit is not supported",
      })
  void otherMethodsAreRefused(String key, String value, String message) throws IOException {
    Path copy = copy("nf4", state -> state);
    ObjectNode config = Json.readObject(copy.resolve("config.json"));
    ObjectNode quantization = (ObjectNode) config.get("quantization_config");
    if (value.equals("true")) {
      quantization.put(key, true);
    } else {
      quantization.put(key, value);
    }
    Files.writeString(copy.resolve("config.json"), config.toString());
    InputException e = assertThrows(InputException.class, () -> ModelFiles.open(copy).close());
    assertTrue(e.getMessage().contains(message), e.getMessage());
    assertTrue(e.getMessage().contains("NF4 with blocks of 64"), e.getMessage());
  }

  @Test
  void aMissingPartIsNamed() throws IOException {
    Path file = work.resolve("part.safetensors");
    Nf4Tensor t = random(new Random(5), 8, 64, false);
    List<TensorToWrite> parts =
        BitsAndBytes.split("w", t.shape(), false, FloatType.BF16, () -> t).stream()
            .filter(p -> !p.name().equals("w.absmax"))
            .toList();
    SafetensorsWriter.write(file, parts);
    try (SafetensorsFile opened = SafetensorsFile.open(file)) {
      InputException e = assertThrows(InputException.class, () -> BitsAndBytes.join(opened));
      assertTrue(e.getMessage().contains("w.absmax"), e.getMessage());
    }
  }

  /** The model of that kind, with every description of a matrix changed. */
  private Path copy(String kind, UnaryOperator<String> change) throws IOException {
    Path folder = Files.createDirectory(work.resolve("copy"));
    Path from = Nf4Models.path(kind);
    Files.copy(from.resolve("config.json"), folder.resolve("config.json"));
    try (SafetensorsFile file = SafetensorsFile.open(from.resolve("model.safetensors"))) {
      List<TensorToWrite> tensors = new ArrayList<>();
      for (StoredTensor t : file.tensors().values()) {
        if (t.name().startsWith(DOWN + ".quant_state")) {
          byte[] bytes =
              change
                  .apply(
                      new String(t.bytes().toArray(ValueLayout.JAVA_BYTE), StandardCharsets.UTF_8))
                  .getBytes(StandardCharsets.UTF_8);
          tensors.add(
              TensorToWrite.bytes(
                  t.name(), new long[] {bytes.length}, () -> MemorySegment.ofArray(bytes)));
        } else if (t.storedType().equals("U8")) {
          tensors.add(TensorToWrite.bytes(t.name(), t.shape(), t::bytes));
        } else {
          tensors.add(TensorToWrite.of(t, FloatType.parse(t.storedType())));
        }
      }
      SafetensorsWriter.write(folder.resolve("model.safetensors"), tensors);
    }
    return folder;
  }

  private static Nf4Tensor random(Random random, int rows, int cols, boolean nested) {
    byte[] codes = new byte[(int) Nf4Tensor.codeBytes((long) rows * cols)];
    random.nextBytes(codes);
    float[] scales = new float[(int) Nf4Tensor.blocks((long) rows * cols)];
    for (int i = 0; i < scales.length; i++) {
      scales[i] = 0.01f + random.nextFloat();
    }
    Nf4Scales plain = new Nf4Scales.Plain(MemorySegment.ofArray(scales));
    return Nf4Tensor.of(
        "w",
        new long[] {rows, cols},
        codes,
        nested ? plain.nested() : plain,
        random.nextBoolean() ? FloatType.F32 : FloatType.F16);
  }

  private static float[] floats(StoredTensor t) {
    float[] values = new float[(int) t.elements()];
    t.read(0, values.length, values, 0);
    return values;
  }

  private static void same(MemorySegment want, MemorySegment got) {
    assertEquals(-1, want.mismatch(got));
  }
}
