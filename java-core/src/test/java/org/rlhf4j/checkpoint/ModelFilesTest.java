package org.rlhf4j.checkpoint;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.rlhf4j.InputException;
import org.rlhf4j.json.Json;
import org.rlhf4j.testing.Golden;

class ModelFilesTest {
  @TempDir Path folder;

  private static String fault(Path path) {
    return assertThrows(InputException.class, () -> ModelFiles.open(path)).getMessage();
  }

  @Test
  void opensEveryReferenceModel() {
    for (String kind : new String[] {"llama", "llama_tied", "qwen2", "qwen3", "mistral", "gpt2"}) {
      try (ModelFiles model = ModelFiles.open(Golden.path("models/" + kind))) {
        assertEquals(512, model.config().get("vocab_size").asInt());
        assertEquals(Set.of(1), model.eosIds());
        assertEquals(512, model.tokenizer().vocabSize());
        assertTrue(model.chatTemplateSource().orElseThrow().contains("im_start"));
        assertFalse(model.tensors().isEmpty());
        assertFalse(model.isGguf());
      }
    }
  }

  @Test
  void faultsSayWhatWasExpectedAndFound() throws IOException {
    assertTrue(fault(folder.resolve("nowhere")).contains("no such model"));
    assertTrue(
        fault(folder).contains("expected config.json in the model folder, found an empty folder"));
    Files.writeString(folder.resolve("adapter_config.json"), "{}");
    assertTrue(fault(folder).contains("this is an adapter"));
    Files.writeString(folder.resolve("config.json"), "{\"model_type\": }");
    assertTrue(fault(folder).contains("config.json:1: not valid JSON"));
    Files.writeString(folder.resolve("config.json"), "{}");
    assertTrue(
        fault(folder).contains("expected model.safetensors or model.safetensors.index.json"));
    Files.writeString(folder.resolve("pytorch_model.bin"), "");
    assertTrue(fault(folder).contains("save_pretrained"));
    Path text = Files.writeString(folder.resolve("notes.txt"), "hello");
    assertTrue(fault(text).contains("found another kind of file"));
    Path index = folder.resolve("model.safetensors.index.json");
    Files.writeString(index, "{\"weight_map\": {\"a\": \"model-1.safetensors\"}}");
    assertTrue(fault(folder).contains("names the shard 'model-1.safetensors'"));
    Files.writeString(index, "{\"weight_map\": {\"a\": \"../model-1.safetensors\"}}");
    assertTrue(fault(folder).contains("a file beside the index"));
    SafetensorsWriter.write(
        folder.resolve("model-1.safetensors"),
        List.of(TensorToWrite.of("b", FloatType.F32, new long[] {1}, new float[1])));
    Files.writeString(index, "{\"weight_map\": {\"a\": \"model-1.safetensors\"}}");
    assertTrue(fault(folder).contains("has no tensor 'a'"));
  }

  @Test
  void eosMayBeAListOrComeFromEitherFile() throws IOException {
    SafetensorsWriter.write(folder.resolve("model.safetensors"), List.of());
    Files.writeString(folder.resolve("config.json"), "{\"eos_token_id\": 7}");
    assertEquals(Set.of(7), eosIds());
    Files.writeString(folder.resolve("generation_config.json"), "{\"eos_token_id\": [3, 5]}");
    assertEquals(Set.of(3, 5), eosIds());
    Files.writeString(folder.resolve("generation_config.json"), "{\"eos_token_id\": null}");
    assertEquals(Set.of(7), eosIds());
    Files.writeString(folder.resolve("config.json"), "{}");
    assertEquals(Set.of(), eosIds());
    Files.writeString(folder.resolve("config.json"), "{\"vocab_size\": 5}");
    for (String wrong : new String[] {"5", "-1", "[1, 7]", "\"</s>\"", "[1.5]"}) {
      Files.writeString(
          folder.resolve("generation_config.json"), "{\"eos_token_id\": " + wrong + "}");
      assertTrue(
          assertThrows(InputException.class, this::eosIds)
              .getMessage()
              .contains("eos_token_id: expected a token id below 5"));
    }
  }

  @Test
  void samplingDefaultsAreRead() throws IOException {
    SafetensorsWriter.write(folder.resolve("model.safetensors"), List.of());
    Files.writeString(folder.resolve("config.json"), "{}");
    Path file = folder.resolve("generation_config.json");
    Files.writeString(
        file,
        "{\"do_sample\": true, \"temperature\": 0.6, \"top_k\": 20, \"top_p\": 0.95,"
            + " \"repetition_penalty\": null}");
    try (ModelFiles model = ModelFiles.open(folder)) {
      assertEquals(new SamplingDefaults(true, 0.6, 20, 0.95, null), model.samplingDefaults());
    }
    for (String wrong : new String[] {"do_sample", "temperature", "top_k", "top_p"}) {
      Files.writeString(file, "{\"" + wrong + "\": \"x\"}");
      try (ModelFiles model = ModelFiles.open(folder)) {
        assertTrue(
            assertThrows(InputException.class, model::samplingDefaults)
                .getMessage()
                .contains("generation_config.json: '" + wrong + "': expected"));
      }
    }
  }

  /** A file that names no end of turn has one all the same if its template writes one. */
  @Test
  void ggufEndsAtTheTokenThatEndsATurn() throws IOException {
    for (boolean written : new boolean[] {true, false}) {
      String template = "{{ messages[0].content }}" + (written ? "<|im_end|>" : "");
      Path file =
          llama(null, null, template, "<|im_end|>").write(folder.resolve(written + ".gguf"));
      try (ModelFiles model = ModelFiles.open(file)) {
        assertEquals(written ? Set.of(1, 2) : Set.of(1), model.eosIds());
      }
    }
  }

  private Set<Integer> eosIds() {
    try (ModelFiles model = ModelFiles.open(folder)) {
      return model.eosIds();
    }
  }

  /** A Llama with two heads of 4, one layer and Llama 3's rotary factors. */
  private static GgufBuilder llama(float[] factors) {
    return llama(factors, 4, "{{ messages[0].content }}", "a");
  }

  /**
   * @param endOfTurn null: the file does not say
   * @param token the text of token 2
   */
  private static GgufBuilder llama(
      float[] factors, Integer endOfTurn, String template, String token) {
    GgufBuilder builder =
        new GgufBuilder()
            .text("general.architecture", "llama")
            .u32("llama.block_count", 1)
            .u32("llama.context_length", 128)
            .u32("llama.embedding_length", 8)
            .u32("llama.feed_forward_length", 16)
            .u32("llama.attention.head_count", 2)
            .u32("llama.attention.head_count_kv", 1)
            .f32("llama.attention.layer_norm_rms_epsilon", 1e-6f)
            .f32("llama.rope.freq_base", 500000f)
            .text("tokenizer.ggml.model", "gpt2")
            .text("tokenizer.ggml.pre", "llama-bpe")
            .texts("tokenizer.ggml.tokens", "<s>", "</s>", token, "b", "ab", "[PAD5]")
            .texts("tokenizer.ggml.merges", "a b")
            .i32s("tokenizer.ggml.token_type", 3, 3, 1, 1, 1, 5)
            .u32("tokenizer.ggml.bos_token_id", 0)
            .u32("tokenizer.ggml.eos_token_id", 1)
            .text("tokenizer.chat_template", template)
            .floats("token_embd.weight", new long[] {6, 8}, new float[48])
            .floats("output_norm.weight", new long[] {8}, new float[8])
            .floats("blk.0.attn_q.weight", new long[] {8, 8}, count(64))
            .floats("blk.0.attn_k.weight", new long[] {4, 8}, count(32))
            .floats("blk.0.ffn_norm.weight", new long[] {8}, new float[8]);
    if (endOfTurn != null) {
      builder.u32("tokenizer.ggml.eot_token_id", endOfTurn);
    }
    return factors == null
        ? builder
        : builder.floats("rope_freqs.weight", new long[] {factors.length}, factors);
  }

  private static float[] count(int n) {
    float[] values = new float[n];
    for (int i = 0; i < n; i++) {
      values[i] = i;
    }
    return values;
  }

  @Test
  void ggufLooksLikeItsHuggingFaceModel() throws IOException {
    JsonNode scaling =
        Json.MAPPER.readTree("{\"factor\": 8, \"original_max_position_embeddings\": 1024}");
    float[] factors = RopeFactors.llama3(scaling, 500000, 2);
    Path file = llama(factors).write(folder.resolve("m.gguf"));
    try (ModelFiles model = ModelFiles.open(file)) {
      JsonNode config = model.config();
      assertEquals(4, config.get("head_dim").asInt());
      assertEquals(1e-6, config.get("rms_norm_eps").asDouble());
      assertEquals("llama3", config.at("/rope_scaling/rope_type").asText());
      assertEquals(8.0, config.at("/rope_scaling/factor").asDouble());
      assertTrue(config.get("tie_word_embeddings").asBoolean());
      assertEquals(Set.of(1, 4), model.eosIds());
      assertEquals(
          List.of(
              "model.embed_tokens.weight",
              "model.norm.weight",
              "model.layers.0.self_attn.q_proj.weight",
              "model.layers.0.self_attn.k_proj.weight",
              "model.layers.0.post_attention_layernorm.weight"),
          List.copyOf(model.tensors().keySet()));
      // Rows of a head: (0, 0), (0, 1), (1, 0), (1, 1) as (pair, half) are 0, 2, 1, 3 as (half,
      // pair).
      float[] key = SafetensorsTest.all(model.tensor("model.layers.0.self_attn.k_proj.weight"));
      assertArrayEquals(new float[] {0, 16, 8, 24}, new float[] {key[0], key[8], key[16], key[24]});
      assertArrayEquals(
          new int[] {0, 4, 3},
          model.tokenizer().encode("abb", true),
          "BOS is on by default for this kind");
      assertEquals(5, model.tokenizer().vocabSize(), "padding rows are no tokens");
    }
    try (ModelFiles model =
        ModelFiles.open(llama(new float[] {1.5f, 3.5f}).write(folder.resolve("f.gguf")))) {
      assertEquals("factors", model.config().at("/rope_scaling/rope_type").asText());
      assertEquals(3.5, model.config().at("/rope_scaling/factors/1").asDouble());
    }
    Path odd =
        llama(null)
            .floats("blk.0.ffn_gate_inp.weight", new long[] {1}, 0)
            .write(folder.resolve("o.gguf"));
    assertTrue(fault(odd).contains("blk.0.ffn_gate_inp.weight"));
    Path other =
        new GgufBuilder().text("general.architecture", "mamba").write(folder.resolve("p.gguf"));
    assertTrue(
        fault(other)
            .contains("expected one of gemma3, gpt2, llama, phi3, qwen2, qwen3, found 'mamba'"));
    assertTrue(
        fault(new GgufBuilder().write(folder.resolve("e.gguf")))
            .contains("'general.architecture' is missing"));
  }

  @Test
  void aFolderWrittenFromGgufIsTheSameModel() throws IOException {
    Path out = folder.resolve("out");
    try (ModelFiles gguf =
        ModelFiles.open(llama(new float[] {1.5f, 3.5f}).write(folder.resolve("m.gguf")))) {
      ModelFolderWriter.writeWeights(
          out,
          gguf.tensors().values().stream().map(t -> TensorToWrite.of(t, FloatType.F32)).toList(),
          ModelFolderWriter.SHARD_BYTES);
      ModelFolderWriter.writeConfiguration(gguf, out, FloatType.F32, Quantization.NONE);
      try (ModelFiles written = ModelFiles.open(out)) {
        assertEquals(gguf.tensors().keySet(), written.tensors().keySet());
        for (String name : gguf.tensors().keySet()) {
          assertArrayEquals(
              SafetensorsTest.all(gguf.tensor(name)),
              SafetensorsTest.all(written.tensor(name)),
              name);
        }
        assertArrayEquals(new int[] {0, 4, 3}, written.tokenizer().encode("abb", true));
        assertEquals(gguf.tokenizer().eosId(), written.tokenizer().eosId());
        assertEquals(gguf.eosIds(), written.eosIds());
        assertEquals(gguf.chatTemplateSource(), written.chatTemplateSource());
        assertEquals("float32", written.config().get("torch_dtype").asText());
        assertEquals("longrope", written.config().at("/rope_scaling/rope_type").asText());
      }
    }
  }

  @Test
  void largeModelsAreSplit() throws IOException {
    List<TensorToWrite> tensors =
        List.of(
            TensorToWrite.of("a", FloatType.F32, new long[] {4}, count(4)),
            TensorToWrite.of("b", FloatType.F32, new long[] {40}, count(40)),
            TensorToWrite.of("c", FloatType.BF16, new long[] {4}, count(4)));
    Files.writeString(folder.resolve("config.json"), "{}");
    ModelFolderWriter.writeWeights(folder, tensors, 1000);
    ModelFolderWriter.writeWeights(folder, tensors, 20);
    assertFalse(Files.exists(folder.resolve("model.safetensors")), "the old form is gone");
    assertTrue(Files.exists(folder.resolve("model-00003-of-00003.safetensors")));
    try (ModelFiles model = ModelFiles.open(folder)) {
      assertArrayEquals(count(40), SafetensorsTest.all(model.tensor("b")));
      assertArrayEquals(count(4), SafetensorsTest.all(model.tensor("c")));
    }
  }
}
