package org.rlhf4j.tokenizer;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.OptionalInt;
import org.junit.jupiter.api.Test;
import org.rlhf4j.InputException;

class GgufTokenizerTest {
  private static final Path FILE = Path.of("model.gguf");

  /**
   * A vocabulary of the 256 bytes, {@code 12}, {@code 123}, {@code 1234}, {@code aA} and three
   * added tokens.
   */
  private static Map<String, Object> metadata(String pre) {
    List<String> tokens = new ArrayList<>();
    int next = 256;
    for (int b = 0; b < 256; b++) {
      // GPT-2's alphabet: printable bytes stand for themselves, the others follow from U+0100.
      boolean itself = b >= '!' && b <= '~' || b >= 0xA1 && b <= 0xAC || b >= 0xAE;
      tokens.add(Character.toString(itself ? b : next++));
    }
    tokens.addAll(List.of("12", "123", "1234", "aA", "<bos>", "<\"eos\\>", "<tool>", "[PAD]"));
    long[] types = new long[tokens.size()];
    Arrays.fill(types, 1);
    types[260] = 3;
    types[261] = 3;
    types[262] = 4;
    types[263] = 5;
    Map<String, Object> metadata = new HashMap<>();
    metadata.put("tokenizer.ggml.model", "gpt2");
    metadata.put("tokenizer.ggml.pre", pre);
    metadata.put("tokenizer.ggml.tokens", tokens.toArray(String[]::new));
    metadata.put("tokenizer.ggml.token_type", types);
    metadata.put("tokenizer.ggml.merges", new String[] {"1 2", "12 3", "123 4", "a A"});
    metadata.put("tokenizer.ggml.bos_token_id", 260L);
    metadata.put("tokenizer.ggml.eos_token_id", 261L);
    return metadata;
  }

  @Test
  void everyKindRoundTripsAnyText() {
    for (String pre : PreTokenizers.names()) {
      try (Tokenizer tokenizer = GgufTokenizer.open(FILE, metadata(pre))) {
        for (String text :
            new String[] {
              "Hello, world's  1234\n\n\tend ",
              "\u539f\u5b50 \uD83D\uDE42",
              "a<tool>b<\"eos\\>",
              "\u0000\u007f\u00ad"
            }) {
          assertEquals(text, tokenizer.decode(tokenizer.encode(text, false), false), pre);
        }
        assertArrayEquals(
            new int[] {'a', 262, 'b', 261}, tokenizer.encode("a<tool>b<\"eos\\>", false), pre);
        assertEquals("ab", tokenizer.decode(new int[] {260, 'a', 'b', 261}, true), pre);
        assertEquals(OptionalInt.of(261), tokenizer.eosId());
        assertEquals(263, tokenizer.vocabSize(), "unused tokens are left out");
      }
    }
  }

  @Test
  void digitsAreSplitAsEachKindDoes() {
    assertArrayEquals(new int[] {258}, encode("gpt-2", "1234"));
    assertArrayEquals(new int[] {257, '4'}, encode("llama-bpe", "1234"));
    for (String single : new String[] {"smollm", "qwen2", "tekken"}) {
      assertArrayEquals(new int[] {'1', '2', '3', '4'}, encode(single, "1234"), single);
    }
    assertArrayEquals(new int[] {'a', 'A'}, encode("tekken", "aA"));
    assertArrayEquals(new int[] {259}, encode("qwen2", "aA"));
  }

  private static int[] encode(String pre, String text) {
    try (Tokenizer tokenizer = GgufTokenizer.open(FILE, metadata(pre))) {
      return tokenizer.encode(text, false);
    }
  }

  @Test
  void specialTokensAreAddedAsConfigured() {
    assertArrayEquals(
        new int[] {260, 'x'}, withSpecial("llama-bpe", null, null), "the kind's default");
    assertArrayEquals(new int[] {'x'}, withSpecial("llama-bpe", false, null));
    assertArrayEquals(new int[] {'x'}, withSpecial("gpt-2", null, null));
    assertArrayEquals(new int[] {260, 'x', 261}, withSpecial("gpt-2", true, true));
    assertArrayEquals(new int[] {'x', 261}, withSpecial("gpt-2", false, true));
  }

  private static int[] withSpecial(String pre, Boolean bos, Boolean eos) {
    Map<String, Object> metadata = metadata(pre);
    metadata.put("tokenizer.ggml.add_bos_token", bos);
    metadata.put("tokenizer.ggml.add_eos_token", eos);
    try (Tokenizer tokenizer = GgufTokenizer.open(FILE, metadata)) {
      assertArrayEquals(new int[] {'x'}, tokenizer.encode("x", false));
      return tokenizer.encode("x", true);
    }
  }

  @Test
  void faultsAreNamed() {
    assertTrue(
        fault("tokenizer.ggml.model", "llama").contains("'tokenizer.ggml.scores' is missing"));
    assertTrue(
        fault("tokenizer.ggml.model", "bert").contains("expected gpt2 (byte-level BPE), llama"));
    assertTrue(fault("tokenizer.ggml.pre", "unheard-of").contains("llama-bpe"));
    assertTrue(fault("tokenizer.ggml.pre", null).contains("found none"));
    assertTrue(fault("tokenizer.ggml.tokens", null).contains("'tokenizer.ggml.tokens' is missing"));
    assertTrue(fault("tokenizer.ggml.merges", 3L).contains("expected String[], found Long"));
    assertTrue(fault("tokenizer.ggml.token_type", new long[3]).contains("expected 264 items"));
    assertTrue(fault("tokenizer.ggml.eos_token_id", 264L).contains("expected 0 to 263, found 264"));
    assertTrue(
        fault("tokenizer.ggml.merges", new String[] {"nope nope"}).contains("not a tokenizer"));
  }

  private static String fault(String key, Object value) {
    Map<String, Object> metadata = metadata("gpt-2");
    metadata.put(key, value);
    String message =
        assertThrows(InputException.class, () -> GgufTokenizer.open(FILE, metadata)).getMessage();
    assertTrue(message.startsWith("model.gguf: "), message);
    return message;
  }
}
