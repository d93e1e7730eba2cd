package org.rlhf4j.checkpoint;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.function.Consumer;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;
import org.rlhf4j.InputException;
import org.rlhf4j.json.Json;
import org.rlhf4j.testing.Golden;

/** GGUF files that we write, read again. */
class GgufExportTest {
  @TempDir Path folder;

  private static float[] floats(StoredTensor tensor) {
    float[] values = new float[(int) tensor.elements()];
    tensor.read(0, values.length, values, 0);
    return values;
  }

  private Path export(Path model, GgufType type) throws IOException {
    Path file = folder.resolve(model.getFileName() + "." + type + ".gguf");
    try (ModelFiles files = ModelFiles.open(model)) {
      GgufExport.write(files, tensor -> tensor, file, type);
    }
    return file;
  }

  /** The same model: its tensors, and those keys of the configuration that make it. */
  private static void same(ModelFiles want, ModelFiles got, float relative) {
    for (String name : want.tensors().keySet()) {
      StoredTensor a = want.tensor(name);
      StoredTensor b = got.tensor(name);
      assertArrayEquals(a.shape(), b.shape(), name);
      float[] x = floats(a);
      float[] y = floats(b);
      for (int i = 0; i < x.length; i++) {
        assertEquals(x[i], y[i], relative * Math.abs(x[i]), name + "[" + i + "]");
      }
    }
    assertEquals(want.tensors().keySet(), got.tensors().keySet());
    for (String key :
        List.of(
            "hidden_size",
            "intermediate_size",
            "num_hidden_layers",
            "num_attention_heads",
            "num_key_value_heads",
            "n_embd",
            "n_layer",
            "n_head",
            "n_positions",
            "layer_norm_epsilon",
            "rms_norm_eps",
            "vocab_size",
            "bos_token_id",
            "eos_token_id",
            "tie_word_embeddings")) {
      assertEquals(want.config().path(key).asText(), got.config().path(key).asText(), key);
    }
    assertEquals(want.eosIds(), got.eosIds());
    assertEquals(want.chatTemplateSource(), got.chatTemplateSource());
    String text = "Hello  world, it's 2026\n\n 12 <|end|>x";
    assertArrayEquals(
        want.tokenizer().encode(text, true), got.tokenizer().encode(text, true), text);
    assertEquals(want.tokenizer().specialTokens(), got.tokenizer().specialTokens());
  }

  @ParameterizedTest
  @ValueSource(strings = {"llama", "llama_tied", "qwen2", "qwen3", "mistral", "gpt2"})
  void ourReaderReadsTheSameModel(String name) throws IOException {
    Path model = Golden.path("models/" + name);
    Path file = export(model, GgufType.F32);
    try (ModelFiles want = ModelFiles.open(model);
        ModelFiles got = ModelFiles.open(file)) {
      same(want, got, 0);
      if (name.equals("llama")) {
        for (String key :
            List.of(
                "rope_type",
                "factor",
                "low_freq_factor",
                "high_freq_factor",
                "original_max_position_embeddings")) {
          assertEquals(
              want.config().at("/rope_parameters/" + key).asDouble(),
              got.config().at("/rope_scaling/" + key).asDouble(),
              key);
        }
      }
      // Beyond its window, llama.cpp's llama architecture would be another model.
      if (!name.equals("gpt2")) {
        assertEquals(
            name.equals("mistral") ? 8 : 512, got.config().get("max_position_embeddings").asInt());
      }
    }
    // And there and back again, over a folder.
    Path again = folder.resolve("folder");
    try (ModelFiles gguf = ModelFiles.open(file)) {
      List<TensorToWrite> tensors =
          gguf.tensors().values().stream().map(t -> TensorToWrite.of(t, FloatType.F32)).toList();
      ModelFolderWriter.writeWeights(again, tensors, ModelFolderWriter.SHARD_BYTES);
      ModelFolderWriter.writeConfiguration(gguf, again, FloatType.F32, Quantization.NONE);
    }
    Path second = export(again, GgufType.F32);
    try (GgufFile a = GgufFile.open(file);
        GgufFile b = GgufFile.open(second)) {
      assertEquals(a.tensors().keySet(), b.tensors().keySet());
      for (String tensor : a.tensors().keySet()) {
        assertArrayEquals(floats(a.tensor(tensor)), floats(b.tensor(tensor)), tensor);
      }
      Map<String, Object> expected = new LinkedHashMap<>(a.metadata().values());
      assertEquals(expected.keySet(), b.metadata().values().keySet());
      expected.remove("general.name"); // of the file and of the folder
      expected.forEach(
          (key, value) ->
              assertTrue(
                  Arrays.deepEquals(
                      new Object[] {value}, new Object[] {b.metadata().values().get(key)}),
                  key));
    }
  }

  @ParameterizedTest
  @EnumSource(GgufType.class)
  void matricesHaveTheTypeAskedFor(GgufType type) throws IOException {
    Path model = Golden.path("models/llama");
    // f16: 10 bits after the point, and values of N(0, 0.02²) reach into its subnormal range.
    float relative =
        switch (type) {
          case F32 -> 0;
          case F16 -> 0x1p-11f;
          case BF16 -> 0x1p-8f;
          case Q8_0 -> Float.NaN;
        };
    try (GgufFile file = GgufFile.open(export(model, type));
        ModelFiles want = ModelFiles.open(model)) {
      assertEquals("F32", file.tensor("blk.0.attn_norm.weight").storedType());
      assertEquals((long) type.fileType(), file.metadata().values().get("general.file_type"));
      StoredTensor got = file.tensor("blk.0.ffn_up.weight");
      assertEquals(type.name(), got.storedType());
      float[] x = floats(want.tensor("model.layers.0.mlp.up_proj.weight"));
      float[] y = floats(got);
      for (int block = 0; block < x.length; block += 32) {
        float largest = 0;
        for (int i = block; i < block + 32; i++) {
          largest = Math.max(largest, Math.abs(x[i]));
        }
        for (int i = block; i < block + 32; i++) {
          // Half a step of the block's scale, and the scale's own rounding to f16.
          float tolerance =
              type == GgufType.Q8_0
                  ? largest / 127 * 0.5f + largest * 0x1p-11f
                  : Math.abs(x[i]) * relative + (type == GgufType.F16 ? 0x1p-25f : 0);
          assertEquals(x[i], y[i], tolerance, "[" + i + "]");
        }
      }
    }
  }

  @Test
  void blocksOfEightBitsAsGgmlMakesThem() {
    float[] x = new float[64];
    x[0] = -127;
    x[1] = 0.5f; // a tie, away from zero
    x[2] = -0.5f;
    x[3] = 63.4f;
    x[4] = 0.49999997f; // the float below 0.5
    byte[] bytes = new byte[68];
    assertEquals(68, GgufType.Q8_0.encode(x, 64, bytes));
    assertEquals(1f, LittleEndian.half(bytes, 0));
    assertArrayEquals(new byte[] {-127, 1, -1, 63, 0, 0}, Arrays.copyOfRange(bytes, 2, 8));
    assertArrayEquals(new byte[34], Arrays.copyOfRange(bytes, 34, 68)); // zeros have scale 0
  }

  @Test
  void rowsThatAreNoWholeBlocksBecomeF16() throws IOException {
    Path model = changed("odd", "llama_tied", c -> c.put("hidden_size", 20), t -> {});
    float[] table = new float[512 * 20];
    float[] up = new float[32 * 20];
    float[] down = new float[20 * 32];
    Arrays.fill(up, 0.5f);
    SafetensorsWriter.write(
        model.resolve("model.safetensors"),
        List.of(
            TensorToWrite.of(
                "model.embed_tokens.weight", FloatType.F32, new long[] {512, 20}, table),
            TensorToWrite.of(
                "model.layers.0.mlp.up_proj.weight", FloatType.F32, new long[] {32, 20}, up),
            TensorToWrite.of(
                "model.layers.0.mlp.down_proj.weight", FloatType.F32, new long[] {20, 32}, down)));
    try (GgufFile file = GgufFile.open(export(model, GgufType.Q8_0))) {
      assertEquals("F16", file.tensor("token_embd.weight").storedType());
      assertEquals("F16", file.tensor("blk.0.ffn_up.weight").storedType());
      assertEquals("Q8_0", file.tensor("blk.0.ffn_down.weight").storedType());
      assertArrayEquals(up, floats(file.tensor("blk.0.ffn_up.weight")));
    }
  }

  /** Any shapes and values, any metadata: what is read is what was written. */
  @Test
  void filesOfAnyShape() throws IOException {
    SplittableRandom random = new SplittableRandom(7);
    for (int round = 0; round < 20; round++) {
      Map<String, float[]> want = new LinkedHashMap<>();
      List<GgufTensor> tensors = new java.util.ArrayList<>();
      for (int t = 0; t < random.nextInt(6); t++) {
        long[] shape = new long[1 + random.nextInt(3)];
        int elements = 1;
        for (int d = 0; d < shape.length; d++) {
          shape[d] = 1 + random.nextInt(round == 0 ? 90 : 9);
          elements *= (int) shape[d];
        }
        float[] values = new float[elements];
        for (int i = 0; i < elements; i++) {
          values[i] = Float.intBitsToFloat(random.nextInt() & 0xBF7FFFFF);
        }
        want.put("t" + t + "é", values);
        tensors.add(
            new GgufTensor(
                "t" + t + "é",
                GgufType.F32,
                shape,
                (first, count, into, offset) ->
                    System.arraycopy(values, (int) first, into, offset, count)));
      }
      Map<String, Object> metadata = new LinkedHashMap<>();
      metadata.put("general.architecture", "llama");
      metadata.put("a", 0xFFFFFFFFL);
      metadata.put("b", 1e-5f);
      metadata.put("c", true);
      metadata.put("d", new String[] {"", "ü", "x".repeat(round)});
      metadata.put("e", new long[] {-1, round});
      metadata.put("f", new float[round]);
      Path file = folder.resolve("any" + round + ".gguf");
      GgufWriter.write(file, metadata, tensors);
      try (GgufFile read = GgufFile.open(file)) {
        assertEquals(3, read.version());
        assertEquals(want.keySet(), read.tensors().keySet());
        want.forEach((name, values) -> assertArrayEquals(values, floats(read.tensor(name)), name));
        metadata.forEach(
            (key, value) ->
                assertTrue(
                    Arrays.deepEquals(
                        new Object[] {value}, new Object[] {read.metadata().values().get(key)}),
                    key));
      }
    }
  }

  @Test
  void equalInputGivesEqualBytes() throws IOException {
    Path model = Golden.path("models/llama");
    byte[] first = Files.readAllBytes(export(model, GgufType.Q8_0));
    assertArrayEquals(first, Files.readAllBytes(export(model, GgufType.Q8_0)));
  }

  /** A copy of a golden model with its config.json or tokenizer.json changed. */
  private Path changed(
      String name, String model, Consumer<ObjectNode> config, Consumer<ObjectNode> tokenizer)
      throws IOException {
    Path copy = Files.createDirectory(folder.resolve(name));
    Path from = Golden.path("models/" + model);
    for (String file : List.of("model.safetensors", "tokenizer_config.json")) {
      Files.copy(from.resolve(file), copy.resolve(file));
    }
    ObjectNode json = Json.readObject(from.resolve("config.json"));
    config.accept(json);
    Files.writeString(copy.resolve("config.json"), json.toString());
    json = Json.readObject(from.resolve("tokenizer.json"));
    tokenizer.accept(json);
    Files.writeString(copy.resolve("tokenizer.json"), json.toString());
    return copy;
  }

  private void refused(Path model, String... words) {
    InputException e =
        assertThrows(InputException.class, () -> export(model, GgufType.F16), model.toString());
    for (String word : words) {
      assertTrue(e.getMessage().contains(word), e.getMessage());
    }
    assertFalse(Files.exists(folder.resolve(model.getFileName() + ".F16.gguf")));
  }

  @Test
  void whatHasNoPlaceInTheFormatIsRefused() throws IOException {
    refused(changed("family", "llama", c -> c.put("model_type", "bloom"), t -> {}), "bloom");
    refused(
        changed(
            "rope",
            "llama",
            c -> ((ObjectNode) c.get("rope_parameters")).put("rope_type", "yarn"),
            t -> {}),
        "yarn");
    refused(
        changed(
            "split",
            "llama",
            c -> {},
            t -> ((ObjectNode) t.get("pre_tokenizer")).put("add_prefix_space", true)),
        "pre_tokenizer",
        "gpt-2");
    refused(
        changed(
            "spm", "llama", c -> {}, t -> ((ObjectNode) t.get("model")).put("byte_fallback", true)),
        "SentencePiece");
    refused(
        changed("lower", "llama", c -> {}, t -> t.putObject("normalizer").put("type", "Lowercase")),
        "Lowercase");
  }

  @Test
  void theRealModelKeepsItsTokenizer() throws IOException {
    Path model = Golden.smolLm2();
    Path file = export(model, GgufType.Q8_0);
    try (GgufFile want = GgufFile.open(model);
        GgufFile got = GgufFile.open(file)) {
      want.metadata()
          .values()
          .forEach(
              (key, value) -> {
                if (key.startsWith("tokenizer.")) {
                  assertTrue(
                      Arrays.deepEquals(
                          new Object[] {value}, new Object[] {got.metadata().values().get(key)}),
                      key);
                }
              });
      assertEquals(want.tensors().keySet(), got.tensors().keySet());
    }
  }
}
