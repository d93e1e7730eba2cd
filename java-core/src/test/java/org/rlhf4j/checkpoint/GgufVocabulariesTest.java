package org.rlhf4j.checkpoint;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import java.net.URISyntaxException;
import java.nio.file.Path;
import java.text.Normalizer;
import java.util.HashMap;
import java.util.Iterator;
import java.util.Map;
import java.util.stream.StreamSupport;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.rlhf4j.json.Json;
import org.rlhf4j.tokenizer.GgufTokenizer;
import org.rlhf4j.tokenizer.SpecialTokens;
import org.rlhf4j.tokenizer.Tokenizer;

/**
 * Vocabularies of GGUF files give llama.cpp's ids, and SentencePiece models as tokenizer.json those
 * of transformers and sentencepiece; see tokenizers/generate.py.
 */
class GgufVocabulariesTest {
  private static final JsonNode CASES = Json.readObject(resource("cases.json"));

  private static Path resource(String name) {
    try {
      return Path.of(GgufVocabulariesTest.class.getResource("/tokenizers/" + name).toURI());
    } catch (URISyntaxException e) {
      throw new IllegalStateException(e);
    }
  }

  private static int[] ints(JsonNode list) {
    return StreamSupport.stream(list.spliterator(), false).mapToInt(JsonNode::intValue).toArray();
  }

  private static Map<String, Object> metadata(String kind) {
    try (GgufFile file = GgufFile.open(resource(kind + ".gguf"))) {
      return new HashMap<>(file.metadata().values());
    }
  }

  private static void check(Tokenizer tokenizer, JsonNode expected, String what) {
    assertEquals(CASES.get("texts").size(), expected.size());
    for (int i = 0; i < expected.size(); i++) {
      String text = CASES.get("texts").get(i).textValue();
      if (!expected.get(i).isNull()) {
        assertArrayEquals(
            ints(expected.get(i)), tokenizer.encode(text, false), what + ": '" + text + "'");
      }
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"bpe", "unigram"})
  void sentencePiece(String kind) {
    try (Tokenizer tokenizer = GgufTokenizer.open(resource(kind + ".gguf"), metadata(kind))) {
      check(tokenizer, CASES.at("/" + kind + "/gguf"), kind);
      check(tokenizer, CASES.at("/" + kind + "/sentencepiece"), kind);
      assertArrayEquals(
          ints(CASES.at("/" + kind + "/added")), tokenizer.encode("Hello world", true));
      String known = "return the statistics of the data";
      assertEquals(known, tokenizer.decode(tokenizer.encode(known, true), true));
    }
  }

  /** BPE loses nothing: unknown characters are spelt in bytes. */
  @Test
  void sentencePieceBpeRoundTrips() {
    try (Tokenizer tokenizer = GgufTokenizer.open(resource("bpe.gguf"), metadata("bpe"))) {
      for (JsonNode text : CASES.get("texts")) {
        if (!text.textValue().contains("<") && !text.textValue().contains("▁")) {
          assertEquals(
              text.textValue(), tokenizer.decode(tokenizer.encode(text.textValue(), false), false));
        }
      }
    }
  }

  @Test
  void sentencePieceAsTokenizerJson() {
    Path file = resource("bpe/tokenizer.json");
    JsonNode cases = CASES.get("bpe");
    try (Tokenizer tokenizer = Tokenizer.of(Json.readText(file), SpecialTokens.NONE, file)) {
      int texts = CASES.get("texts").size();
      for (int i = 0; i < cases.get("ids").size(); i++) {
        String text =
            (i < texts ? CASES.get("texts").get(i) : cases.get("flags").get(i - texts)).textValue();
        int[] ids = ints(cases.get("ids").get(i));
        assertArrayEquals(ids, tokenizer.encode(text, false), text);
        assertEquals(cases.get("decoded").get(i).textValue(), tokenizer.decode(ids, false));
      }
    }
  }

  /**
   * Qwen's own tokenizer normalises text to NFC, as we do, and llama.cpp leaves it as it is: texts
   * that NFC changes are not compared.
   */
  private static JsonNode composed(JsonNode ids) {
    ArrayNode some = ((ArrayNode) ids).deepCopy();
    for (int i = 0; i < some.size(); i++) {
      if (!Normalizer.isNormalized(CASES.get("texts").get(i).textValue(), Normalizer.Form.NFC)) {
        some.setNull(i);
      }
    }
    return some;
  }

  @Test
  void byteLevelByEveryPreTokenizer() {
    Map<String, Object> metadata = metadata("bytes");
    Iterator<Map.Entry<String, JsonNode>> kinds = CASES.get("bytes").properties().iterator();
    while (kinds.hasNext()) {
      Map.Entry<String, JsonNode> kind = kinds.next();
      metadata.put("tokenizer.ggml.pre", kind.getKey());
      try (Tokenizer tokenizer = GgufTokenizer.open(resource("bytes.gguf"), metadata)) {
        check(
            tokenizer,
            kind.getKey().contains("qwen") ? composed(kind.getValue()) : kind.getValue(),
            kind.getKey());
      }
    }
  }
}
