package org.rlhf4j.checkpoint;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import java.util.OptionalInt;
import java.util.Set;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.rlhf4j.InputException;
import org.rlhf4j.testing.Golden;
import org.rlhf4j.tokenizer.Tokenizer;

/** A real model's GGUF file. */
class SmolLm2Test {
  @Test
  void configurationIsHuggingFaces() {
    try (ModelFiles model = ModelFiles.open(Golden.smolLm2())) {
      JsonNode config = model.config();
      assertEquals("llama", config.get("model_type").asText());
      assertEquals(576, config.get("hidden_size").asInt());
      assertEquals(1536, config.get("intermediate_size").asInt());
      assertEquals(30, config.get("num_hidden_layers").asInt());
      assertEquals(9, config.get("num_attention_heads").asInt());
      assertEquals(3, config.get("num_key_value_heads").asInt());
      assertEquals(64, config.get("head_dim").asInt());
      assertEquals(100000.0, config.get("rope_theta").asDouble());
      assertEquals(1e-5, config.get("rms_norm_eps").asDouble());
      assertEquals(49152, config.get("vocab_size").asInt());
      assertTrue(config.get("tie_word_embeddings").asBoolean());
      assertEquals(Set.of(2), model.eosIds());
      assertEquals(272, model.tensors().size());
      assertArrayEquals(
          new long[] {576, 1536}, model.tensor("model.layers.0.mlp.down_proj.weight").shape());
    }
  }

  @Test
  void missingTensorsAreNamedWithTheirNeighbours() {
    try (ModelFiles model = ModelFiles.open(Golden.smolLm2())) {
      String message =
          assertThrows(
                  InputException.class, () -> model.tensor("model.layers.0.self_attn.q_prj.weight"))
              .getMessage();
      assertTrue(message.contains("model.layers.0.self_attn.q_proj.weight"), message);
      assertTrue(message.contains(".gguf"), message);
    }
  }

  @Test
  void encodesAsTheReference() {
    JsonNode golden = Golden.json("smollm2.json");
    try (ModelFiles model = ModelFiles.open(Golden.smolLm2())) {
      Tokenizer tokenizer = model.tokenizer();
      for (JsonNode c : golden.get("encode")) {
        check(tokenizer, c.get("text").asText(), c.get("ids"));
      }
      for (JsonNode c : golden.get("cases")) {
        check(tokenizer, c.get("text").asText(), c.get("prompt_ids"));
        assertEquals(
            c.get("greedy_text").asText(), tokenizer.decode(ids(c.get("greedy_ids")), false));
      }
      assertEquals(OptionalInt.of(2), tokenizer.eosId());
      assertEquals(49152, tokenizer.vocabSize());
    }
  }

  private static void check(Tokenizer tokenizer, String text, JsonNode expected) {
    int[] ids = ids(expected);
    assertArrayEquals(ids, tokenizer.encode(text, false), text);
    assertArrayEquals(ids, tokenizer.encode(text, true), text);
    assertEquals(text, tokenizer.decode(ids, false));
  }

  private static int[] ids(JsonNode list) {
    return IntStream.range(0, list.size()).map(i -> list.get(i).intValue()).toArray();
  }

  @Test
  void everyWeightDequantisesToAFiniteNumber() {
    try (ModelFiles model = ModelFiles.open(Golden.smolLm2())) {
      long start = System.nanoTime();
      long total = 0;
      float[] values = new float[1 << 20];
      for (StoredTensor tensor : model.tensors().values()) {
        for (long first = 0; first < tensor.elements(); first += values.length) {
          int count = (int) Math.min(values.length, tensor.elements() - first);
          tensor.read(first, count, values, 0);
          float sum = 0;
          for (int i = 0; i < count; i++) {
            sum += Math.abs(values[i]);
          }
          assertTrue(Float.isFinite(sum), tensor.name());
          total += count;
        }
      }
      assertEquals(134_515_008, total);
      System.out.printf(
          "SmolLM2: %d weights dequantised in %.2f s%n", total, (System.nanoTime() - start) / 1e9);
    }
  }
}
