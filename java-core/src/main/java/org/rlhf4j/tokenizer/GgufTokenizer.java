package org.rlhf4j.tokenizer;

import java.nio.file.Path;
import java.util.Map;
import org.rlhf4j.InputException;

/**
 * The tokenizer that a GGUF file carries in its metadata (byte-level BPE: {@code
 * tokenizer.ggml.model} is {@code gpt2}), written as a tokenizer.json, so that one library
 * tokenises for every kind of model file.
 */
public final class GgufTokenizer {
  private static final String PREFIX = "tokenizer.ggml.";

  /** llama.cpp's token types. */
  private static final int CONTROL = 3;

  private static final int USER_DEFINED = 4;
  private static final int UNUSED = 5;

  private final Path file;
  private final Map<String, Object> metadata;

  private GgufTokenizer(Path file, Map<String, Object> metadata) {
    this.file = file;
    this.metadata = metadata;
  }

  /**
   * Builds the tokenizer.
   *
   * @param file the file that messages name
   * @param metadata the file's metadata; strings are String, integers Long, arrays String[] and
   *     long[]
   * @throws InputException for another kind of tokenizer, an unknown pre-tokenizer, or missing and
   *     ill-typed keys
   */
  public static Tokenizer open(Path file, Map<String, Object> metadata) {
    GgufTokenizer source = new GgufTokenizer(file, metadata);
    String model = source.require("model", String.class);
    if (!model.equals("gpt2")) {
      throw InputException.at(
          file,
          "tokenizer.ggml.model: expected 'gpt2' (byte-level BPE), found '"
              + model
              + "'; use the model's Hugging Face folder instead");
    }
    String[] tokens = source.require("tokens", String[].class);
    SpecialTokens special =
        new SpecialTokens(
            source.tokenText(tokens, "bos_token_id"),
            source.tokenText(tokens, "eos_token_id"),
            source.tokenText(tokens, "padding_token_id"),
            source.tokenText(tokens, "unknown_token_id"));
    return Tokenizer.of(source.json(tokens, special), special, file);
  }

  private String json(String[] tokens, SpecialTokens special) {
    long[] types = get("token_type", long[].class);
    if (types != null && types.length != tokens.length) {
      throw InputException.at(
          file,
          "tokenizer.ggml.token_type: expected "
              + tokens.length
              + " items, as in tokens, found "
              + types.length);
    }
    String[] merges = require("merges", String[].class);
    String pre = get("pre", String.class);
    PreTokenizers kind = PreTokenizers.of(pre);
    if (kind == null) {
      throw InputException.at(
          file,
          "tokenizer.ggml.pre: expected one of "
              + String.join(", ", PreTokenizers.names())
              + ", found "
              + (pre == null ? "none" : "'" + pre + "'")
              + "; use the model's Hugging Face folder instead");
    }
    StringBuilder json = new StringBuilder(64 * tokens.length);
    json.append("{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,\"added_tokens\":[");
    String separator = "";
    for (int id = 0; id < tokens.length && types != null; id++) {
      if (types[id] == CONTROL || types[id] == USER_DEFINED) {
        json.append(separator).append("\n{\"id\":").append(id).append(",\"content\":");
        quote(tokens[id], json);
        json.append(
                ",\"single_word\":false,\"lstrip\":false,\"rstrip\":false,\"normalized\":false,\"special\":")
            .append(types[id] == CONTROL)
            .append('}');
        separator = ",";
      }
    }
    json.append("],\n\"normalizer\":").append(kind.normalizer());
    json.append(",\n\"pre_tokenizer\":").append(kind.preTokenizer());
    json.append(",\n\"post_processor\":");
    postProcessor(kind, special, json);
    json.append(
        ",\n"
            + "\"decoder\":{\"type\":\"ByteLevel\",\"add_prefix_space\":true,\"trim_offsets\":true,\"use_regex\":true}");
    json.append(
            ",\n"
                + "\"model\":{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":null,\"continuing_subword_prefix\":null,")
        .append(
            "\"end_of_word_suffix\":null,\"fuse_unk\":false,\"byte_fallback\":false,\"ignore_merges\":")
        .append(kind.ignoreMerges())
        .append(",\"vocab\":{");
    separator = "";
    for (int id = 0; id < tokens.length; id++) {
      // Unused tokens only fill the matrix up to a round size; the model's own tokenizer does not
      // have them.
      if (types == null || types[id] != UNUSED) {
        json.append(separator);
        quote(tokens[id], json);
        json.append(':').append(id);
        separator = ",";
      }
    }
    json.append("},\"merges\":[");
    separator = "";
    for (String merge : merges) {
      json.append(separator);
      quote(merge, json);
      separator = ",";
    }
    return json.append("]}}\n").toString();
  }

  private void postProcessor(PreTokenizers kind, SpecialTokens special, StringBuilder json) {
    Boolean configuredBos = get("add_bos_token", Boolean.class);
    Boolean configuredEos = get("add_eos_token", Boolean.class);
    String bos = (configuredBos == null ? kind.addBos() : configuredBos) ? special.bos() : null;
    String eos = configuredEos != null && configuredEos ? special.eos() : null;
    if (bos == null && eos == null) {
      json.append("null");
      return;
    }
    json.append("{\"type\":\"TemplateProcessing\",\"single\":[");
    templateToken(bos, 0, "", ",", json);
    json.append("{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}");
    templateToken(eos, 0, ",", "", json);
    json.append("],\"pair\":[");
    templateToken(bos, 0, "", ",", json);
    json.append("{\"Sequence\":{\"id\":\"A\",\"type_id\":0}},");
    templateToken(eos, 0, "", ",", json);
    templateToken(bos, 1, "", ",", json);
    json.append("{\"Sequence\":{\"id\":\"B\",\"type_id\":1}}");
    templateToken(eos, 1, ",", "", json);
    json.append("],\"special_tokens\":{");
    templateId(bos, "bos_token_id", json);
    if (bos != null && eos != null && !bos.equals(eos)) {
      json.append(',');
    }
    if (eos != null && !eos.equals(bos)) {
      templateId(eos, "eos_token_id", json);
    }
    json.append("}}");
  }

  private static void templateToken(
      String token, int typeId, String before, String after, StringBuilder json) {
    if (token != null) {
      json.append(before).append("{\"SpecialToken\":{\"id\":");
      quote(token, json);
      json.append(",\"type_id\":").append(typeId).append("}}").append(after);
    }
  }

  private void templateId(String token, String key, StringBuilder json) {
    if (token != null) {
      quote(token, json);
      json.append(":{\"id\":");
      quote(token, json);
      json.append(",\"ids\":[").append(require(key, Long.class)).append("],\"tokens\":[");
      quote(token, json);
      json.append("]}");
    }
  }

  private String tokenText(String[] tokens, String key) {
    Long id = get(key, Long.class);
    if (id == null) {
      return null;
    }
    if (id < 0 || id >= tokens.length) {
      throw InputException.at(
          file, PREFIX + key + ": expected 0 to " + (tokens.length - 1) + ", found " + id);
    }
    return tokens[id.intValue()];
  }

  private <T> T get(String key, Class<T> type) {
    Object value = metadata.get(PREFIX + key);
    if (value != null && !type.isInstance(value)) {
      throw InputException.at(
          file,
          PREFIX
              + key
              + ": expected "
              + type.getSimpleName()
              + ", found "
              + value.getClass().getSimpleName());
    }
    return type.cast(value);
  }

  private <T> T require(String key, Class<T> type) {
    T value = get(key, type);
    if (value == null) {
      throw InputException.at(
          file, "metadata key '" + PREFIX + key + "' is missing, so the file has no tokenizer");
    }
    return value;
  }

  /**
   * Appends a JSON string; hand-made, since a hundred thousand of them are on the way to the first
   * line of output.
   */
  private static void quote(String text, StringBuilder json) {
    json.append('"');
    for (int i = 0; i < text.length(); i++) {
      char c = text.charAt(i);
      if (c == '"' || c == '\\') {
        json.append('\\').append(c);
      } else if (c < 0x20) {
        json.append(String.format("\\u%04x", (int) c));
      } else {
        json.append(c);
      }
    }
    json.append('"');
  }
}
