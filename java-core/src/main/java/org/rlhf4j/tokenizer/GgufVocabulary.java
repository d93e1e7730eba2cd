package org.rlhf4j.tokenizer;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.OptionalInt;
import org.rlhf4j.InputException;
import org.rlhf4j.json.Json;

/**
 * A tokenizer.json (byte-level BPE) in the words of a GGUF file's metadata: the other way round
 * than {@link GgufTokenizer}.
 */
public final class GgufVocabulary {
  private static final String PREFIX = "tokenizer.ggml.";

  /** llama.cpp's token types. */
  private static final long NORMAL = 1;

  private static final long CONTROL = 3;
  private static final long USER_DEFINED = 4;
  private static final long UNUSED = 5;

  private final Tokenizer tokenizer;
  private final Path origin;
  private final JsonNode json;
  private final Map<String, Object> metadata = new LinkedHashMap<>();

  private GgufVocabulary(Tokenizer tokenizer, Path origin) {
    this.tokenizer = tokenizer;
    this.origin = origin;
    try {
      this.json = Json.MAPPER.readTree(tokenizer.tokenizerJson());
    } catch (JsonProcessingException e) {
      throw new InputException(origin + ": tokenizer.json: not valid JSON: " + e.getMessage(), e);
    }
  }

  /**
   * The keys {@code tokenizer.ggml.*} but for the chat template.
   *
   * @param rows of the model's embedding; ids without a token become unused ones
   * @param origin what messages name
   * @throws InputException for another kind of tokenizer, or a split of the text that llama.cpp has
   *     no name for
   */
  public static Map<String, Object> metadata(Tokenizer tokenizer, int rows, Path origin) {
    GgufVocabulary vocabulary = new GgufVocabulary(tokenizer, origin);
    vocabulary.requireByteLevelBpe();
    vocabulary.put("model", "gpt2");
    vocabulary.put("pre", vocabulary.preTokenizer());
    vocabulary.tokens(rows);
    vocabulary.merges();
    vocabulary.specialTokens();
    return vocabulary.metadata;
  }

  private void requireByteLevelBpe() {
    String model = json.path("model").path("type").asText("none");
    boolean sentencePiece =
        json.path("model").path("byte_fallback").asBoolean(false)
            || json.path("decoder").toString().contains("▁");
    if (!model.equals("BPE") || sentencePiece) {
      throw InputException.at(
          origin,
          "tokenizer.json: expected byte-level BPE, which is what can be written as GGUF, found "
              + (sentencePiece ? "a SentencePiece tokenizer" : model)
              + "; convert from a GGUF file of the model, whose tokenizer is carried over");
    }
  }

  private String preTokenizer() {
    JsonNode normalizer = json.path("normalizer");
    boolean plain = normalizer.isNull() || normalizer.isMissingNode();
    if (!plain && !normalizer.path("type").asText().equals("NFC")) {
      throw InputException.at(
          origin,
          "tokenizer.json: normalizer: expected none or NFC, found " + normalizer.path("type"));
    }
    JsonNode found = withoutOffsets(json.path("pre_tokenizer"));
    return PreTokenizers.nameOf(other -> withoutOffsets(parsed(other)).equals(found))
        .orElseThrow(
            () ->
                InputException.at(
                    origin,
                    "tokenizer.json: pre_tokenizer: expected the split of one of "
                        + String.join(", ", PreTokenizers.names())
                        + ", found "
                        + found));
  }

  private static JsonNode parsed(String text) {
    try {
      return Json.MAPPER.readTree(text);
    } catch (JsonProcessingException e) {
      throw new IllegalStateException(text, e);
    }
  }

  /** trim_offsets says where a token lies in the text, not what it is. */
  private static JsonNode withoutOffsets(JsonNode node) {
    JsonNode copy = node.deepCopy();
    if (copy instanceof ObjectNode object) {
      object.remove("trim_offsets");
    }
    for (JsonNode part : copy.path("pretokenizers")) {
      ((ObjectNode) part).remove("trim_offsets");
    }
    return copy;
  }

  private void tokens(int rows) {
    String[] tokens = new String[rows];
    long[] types = new long[rows];
    Arrays.fill(types, UNUSED);
    json.path("model")
        .path("vocab")
        .fields()
        .forEachRemaining(e -> set(tokens, types, e.getValue().asInt(-1), e.getKey(), NORMAL));
    for (JsonNode added : json.path("added_tokens")) {
      long type = added.path("special").asBoolean(false) ? CONTROL : USER_DEFINED;
      set(tokens, types, added.path("id").asInt(-1), added.path("content").asText(), type);
    }
    for (int id = 0; id < rows; id++) {
      if (tokens[id] == null) {
        tokens[id] = "[PAD" + id + "]"; // as llama.cpp's converter names them
      }
    }
    put("tokens", tokens);
    put("token_type", types);
  }

  private void set(String[] tokens, long[] types, int id, String token, long type) {
    if (id < 0 || id >= tokens.length) {
      throw InputException.at(
          origin,
          "tokenizer.json: token '"
              + token
              + "' has the id "
              + id
              + ", and the model has "
              + tokens.length
              + " rows");
    }
    tokens[id] = token;
    types[id] = type;
  }

  /** Older files have "a b", newer ones ["a", "b"]. */
  private void merges() {
    JsonNode list = json.path("model").path("merges");
    String[] merges = new String[list.size()];
    for (int i = 0; i < merges.length; i++) {
      JsonNode merge = list.get(i);
      merges[i] =
          merge.isArray() ? merge.path(0).asText() + " " + merge.path(1).asText() : merge.asText();
    }
    put("merges", merges);
  }

  /** Whether BOS and EOS are added is seen from what the tokenizer does. */
  private void specialTokens() {
    id("bos_token_id", tokenizer.bosId());
    id("eos_token_id", tokenizer.eosId());
    id("padding_token_id", tokenizer.padId());
    id("unknown_token_id", tokenizer.id(tokenizer.specialTokens().unk()));
    int[] plain = tokenizer.encode("a", false);
    int[] marked = tokenizer.encode("a", true);
    boolean longer = marked.length > plain.length;
    OptionalInt bos = tokenizer.bosId();
    OptionalInt eos = tokenizer.eosId();
    put("add_bos_token", longer && bos.isPresent() && marked[0] == bos.getAsInt());
    put("add_eos_token", longer && eos.isPresent() && marked[marked.length - 1] == eos.getAsInt());
  }

  private void id(String key, OptionalInt id) {
    id.ifPresent(value -> put(key, (long) value));
  }

  private void put(String key, Object value) {
    metadata.put(PREFIX + key, value);
  }
}
