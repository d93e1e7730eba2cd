package org.rlhf4j.tokenizer;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.OptionalInt;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.rlhf4j.InputException;
import org.rlhf4j.json.Json;
import org.rlhf4j.testing.Golden;

class TokenizerTest {
  static int[] ids(JsonNode list) {
    return IntStream.range(0, list.size()).map(i -> list.get(i).intValue()).toArray();
  }

  @Test
  void encodesAndDecodesAsTheReference() {
    JsonNode cases = Golden.json("tokenizer.json").get("encode");
    try (Tokenizer tokenizer = Tokenizer.open(Golden.path("models/llama"))) {
      for (JsonNode c : cases) {
        String text = c.get("text").textValue();
        int[] expected = ids(c.get("ids"));
        assertArrayEquals(expected, tokenizer.encode(text, false), text);
        assertEquals(c.get("decoded").textValue(), tokenizer.decode(expected, false), text);
      }
    }
  }

  @Test
  void knowsItsSpecialTokens() {
    try (Tokenizer tokenizer = Tokenizer.open(Golden.path("models/llama"))) {
      assertEquals(OptionalInt.of(0), tokenizer.bosId());
      assertEquals(OptionalInt.of(1), tokenizer.eosId());
      assertEquals(OptionalInt.of(2), tokenizer.padId());
      assertEquals(OptionalInt.of(4), tokenizer.id("<|im_end|>"));
      assertEquals(OptionalInt.empty(), tokenizer.id("no such token"));
      assertEquals(512, tokenizer.vocabSize());
      assertEquals("hello", tokenizer.decode(new int[] {292, 83, 83, 86, 1}, true));
      assertEquals("hello<|end|>", tokenizer.decode(new int[] {292, 83, 83, 86, 1}, false));
    }
  }

  @Test
  void neverTruncatesOrPads(@TempDir Path folder) throws IOException {
    // A tokenizer.json that asks for both, as transformers leaves it behind after a padded call.
    ObjectNode json = Json.readObject(Golden.path("models/llama/tokenizer.json"));
    ObjectNode truncation = json.putObject("truncation");
    truncation
        .put("direction", "Right")
        .put("max_length", 16)
        .put("strategy", "LongestFirst")
        .put("stride", 0);
    ObjectNode padding = json.putObject("padding");
    padding.putObject("strategy").put("Fixed", 16);
    padding.put("direction", "Right").putNull("pad_to_multiple_of");
    padding.put("pad_id", 2).put("pad_type_id", 0).put("pad_token", "<|pad|>");
    Files.writeString(folder.resolve("tokenizer.json"), json.toString());
    try (Tokenizer tokenizer = Tokenizer.open(folder)) {
      String text = "a word and another ".repeat(2000);
      int[] encoded = tokenizer.encode(text, false);
      assertTrue(encoded.length > 10_000, () -> "found " + encoded.length);
      assertEquals(text, tokenizer.decode(encoded, false));
      assertEquals(4, tokenizer.encode("hello", true).length);
    }
  }

  @Test
  void oddTextsSurvive() {
    try (Tokenizer tokenizer = Tokenizer.open(Golden.path("models/llama"))) {
      for (String text :
          new String[] {"\u0000", "a\u0000b", "\uD83D\uDE42", "\uFFFF", "\r\n", "\u2028"}) {
        assertEquals(text, tokenizer.decode(tokenizer.encode(text, false), false));
      }
      // A lone surrogate is no text at all; it must not crash the library.
      tokenizer.encode("\uD83D alone", false);
      assertThrows(IllegalArgumentException.class, () -> tokenizer.decode(new int[] {-1}, false));
      assertEquals("", tokenizer.decode(new int[] {1_000_000}, false));
    }
  }

  @Test
  void faultsNameTheFile(@TempDir Path folder) throws IOException {
    assertTrue(
        assertThrows(InputException.class, () -> Tokenizer.open(folder))
            .getMessage()
            .contains("tokenizer.json"));
    Files.writeString(folder.resolve("tokenizer.json"), "{\"model\": {}}");
    InputException e = assertThrows(InputException.class, () -> Tokenizer.open(folder));
    assertTrue(e.getMessage().startsWith(folder.resolve("tokenizer.json") + ": "), e.getMessage());
  }

  @Test
  void closingTwiceIsFineAndUseAfterwardsIsRefused() {
    Tokenizer tokenizer = Tokenizer.open(Golden.path("models/llama"));
    tokenizer.close();
    tokenizer.close();
    assertThrows(IllegalStateException.class, () -> tokenizer.encode("x", false));
  }
}
