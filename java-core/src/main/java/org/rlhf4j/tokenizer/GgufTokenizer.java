package org.rlhf4j.tokenizer;

import java.nio.file.Path;
import java.util.Base64;
import java.util.List;
import java.util.Map;
import org.rlhf4j.InputException;

/**
 * The tokenizer that a GGUF file carries in its metadata, written as a tokenizer.json, so that one
 * library tokenises for every kind of model file. By {@code tokenizer.ggml.model}: {@code gpt2} is
 * byte-level BPE, {@code llama} SentencePiece's BPE with byte tokens, {@code t5} SentencePiece's
 * Unigram.
 */
public final class GgufTokenizer {
  private static final String PREFIX = "tokenizer.ggml.";

  /** llama.cpp's token types. */
  private static final int NORMAL = 1;

  private static final int UNKNOWN = 2;
  private static final int CONTROL = 3;
  private static final int USER_DEFINED = 4;
  private static final int UNUSED = 5;
  private static final int BYTE = 6;

  private static final String BYTE_LEVEL_DECODER =
      "{\"type\":\"ByteLevel\",\"add_prefix_space\":true,\"trim_offsets\":true,\"use_regex\":true}";

  private final Path file;
  private final Map<String, Object> metadata;
  private final String[] tokens;
  private final SpecialTokens special;

  /** Null: all are normal. */
  private final long[] types;

  private GgufTokenizer(Path file, Map<String, Object> metadata) {
    this.file = file;
    this.metadata = metadata;
    this.tokens = require("tokens", String[].class);
    this.types = get("token_type", long[].class);
    if (types != null) {
      sameLength("token_type", types.length);
    }
    this.special =
        new SpecialTokens(
            tokenText("bos_token_id"),
            tokenText("eos_token_id"),
            tokenText("padding_token_id"),
            tokenText("unknown_token_id"));
  }

  /**
   * Builds the tokenizer.
   *
   * @param file the file that messages name
   * @param metadata the file's metadata; strings are String, integers Long, arrays String[], long[]
   *     and float[]
   * @throws InputException for another kind of tokenizer, an unknown pre-tokenizer, or missing and
   *     ill-typed keys
   */
  public static Tokenizer open(Path file, Map<String, Object> metadata) {
    Object model = metadata.get(PREFIX + "model");
    if (model instanceof String name && !List.of("gpt2", "llama", "t5").contains(name)) {
      throw InputException.at(
          file,
          "tokenizer.ggml.model: expected gpt2 (byte-level BPE), llama (SentencePiece BPE) or t5"
              + " (SentencePiece Unigram), found '"
              + name
              + "'; use the model's Hugging Face folder instead");
    }
    GgufTokenizer source = new GgufTokenizer(file, metadata);
    StringBuilder json = new StringBuilder(64 * source.tokens.length);
    switch (source.require("model", String.class)) {
      case "llama" -> source.sentencePiece(json);
      case "t5" -> source.unigram(json);
      default -> source.byteLevel(json);
    }
    return Tokenizer.of(json.toString(), source.special, file);
  }

  private void byteLevel(StringBuilder json) {
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
    begin(json, kind.normalizer(), kind.preTokenizer(), BYTE_LEVEL_DECODER);
    postProcessor(kind.addBos(), false, json);
    json.append(
        ",\n\"model\":{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":null,\"continuing_subword_prefix\":null,"
            + "\"end_of_word_suffix\":null,\"fuse_unk\":false,\"byte_fallback\":false,\"ignore_merges\":");
    json.append(kind.ignoreMerges());
    vocabulary(json);
    json.append(",\"merges\":[");
    String separator = "";
    for (String merge : merges) {
      json.append(separator);
      quote(merge, json);
      separator = ",";
    }
    json.append("]}}\n");
  }

  /**
   * A space is "▁", also one that is put in front of the text and behind every special token,
   * unless the file says otherwise; what no piece covers is spelt in byte tokens.
   */
  private void sentencePiece(StringBuilder json) {
    boolean prefix = flag("add_space_prefix", true);
    begin(json, spaces("", prefix), "null", spacesBack(prefix));
    postProcessor(true, false, json);
    json.append(
        ",\n\"model\":{\"type\":\"BPE\",\"dropout\":null,\"continuing_subword_prefix\":null,"
            + "\"end_of_word_suffix\":null,\"fuse_unk\":true,\"byte_fallback\":true,\"ignore_merges\":false,"
            + "\"unk_token\":");
    int unknown = unknown();
    if (unknown < 0) {
      json.append("null");
    } else {
      quote(tokens[unknown], json);
    }
    vocabulary(json);
    json.append(",\"merges\":[");
    String separator = "";
    for (SentencePieceMerges.Merge merge :
        SentencePieceMerges.of(
            tokens, scores(), id -> type(id) == NORMAL || type(id) == USER_DEFINED)) {
      json.append(separator).append('[');
      quote(tokens[merge.left()], json);
      json.append(',');
      quote(tokens[merge.right()], json);
      json.append(']');
      separator = ",";
    }
    json.append("]}}\n");
  }

  /** The likeliest split into pieces; text is normalised by the file's character map first. */
  private void unigram(StringBuilder json) {
    boolean prefix = flag("add_space_prefix", true);
    long[] map = get("precompiled_charsmap", long[].class);
    StringBuilder before = new StringBuilder();
    if (map != null && map.length > 0) {
      byte[] bytes = new byte[map.length];
      for (int i = 0; i < bytes.length; i++) {
        bytes[i] = (byte) map[i];
      }
      before.append("{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"");
      before.append(Base64.getEncoder().encodeToString(bytes)).append("\"},");
    }
    if (flag("remove_extra_whitespaces", false)) {
      before.append(
          "{\"type\":\"Strip\",\"strip_left\":true,\"strip_right\":true},"
              + "{\"type\":\"Replace\",\"pattern\":{\"Regex\":\" {2,}\"},\"content\":\" \"},");
    }
    begin(json, spaces(before.toString(), prefix), "null", spacesBack(prefix));
    postProcessor(false, true, json);
    boolean bytes = false;
    for (int id = 0; id < tokens.length; id++) {
      bytes |= type(id) == BYTE;
    }
    int unknown = unknown();
    json.append(",\n\"model\":{\"type\":\"Unigram\",\"unk_id\":");
    json.append(unknown < 0 ? "null" : String.valueOf(unknown));
    json.append(",\"byte_fallback\":").append(bytes).append(",\"vocab\":[");
    float[] scores = scores();
    String separator = "";
    for (int id = 0; id < tokens.length; id++) {
      json.append(separator).append('[');
      quote(tokens[id], json);
      json.append(',').append(scores[id]).append(']');
      separator = ",";
    }
    json.append("]}}\n");
  }

  /** The normalizer that writes spaces as "▁", after what stands in {@code before}. */
  private static String spaces(String before, boolean prefix) {
    return "{\"type\":\"Sequence\",\"normalizers\":["
        + before
        + (prefix ? "{\"type\":\"Prepend\",\"prepend\":\"▁\"}," : "")
        + "{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"▁\"}]}";
  }

  private static String spacesBack(boolean prefix) {
    return "{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\",\"pattern\":{\"String\":\"▁\"},"
        + "\"content\":\" \"},{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"}"
        + (prefix ? ",{\"type\":\"Strip\",\"content\":\" \",\"start\":1,\"stop\":0}" : "")
        + "]}";
  }

  private float[] scores() {
    float[] scores = require("scores", float[].class);
    sameLength("scores", scores.length);
    for (int id = 0; id < scores.length; id++) {
      if (!Float.isFinite(scores[id])) {
        throw InputException.at(
            file, PREFIX + "scores[" + id + "]: expected a number, found " + scores[id]);
      }
    }
    return scores;
  }

  /** The id of the token for what the vocabulary lacks, or -1. */
  private int unknown() {
    Long named = get("unknown_token_id", Long.class);
    if (named != null) {
      return named.intValue(); // in range: its text has been looked up
    }
    for (int id = 0; id < tokens.length; id++) {
      if (type(id) == UNKNOWN) {
        return id;
      }
    }
    return -1;
  }

  private long type(int id) {
    return types == null ? NORMAL : types[id];
  }

  private boolean flag(String key, boolean byDefault) {
    Boolean value = get(key, Boolean.class);
    return value == null ? byDefault : value;
  }

  private void sameLength(String key, int length) {
    if (length != tokens.length) {
      throw InputException.at(
          file,
          PREFIX + key + ": expected " + tokens.length + " items, as in tokens, found " + length);
    }
  }

  private void begin(StringBuilder json, String normalizer, String preTokenizer, String decoder) {
    json.append("{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,\"added_tokens\":[");
    String separator = "";
    for (int id = 0; id < tokens.length; id++) {
      boolean hidden = type(id) == CONTROL || type(id) == UNKNOWN;
      // An empty token would match everywhere.
      if ((hidden || type(id) == USER_DEFINED) && !tokens[id].isEmpty()) {
        json.append(separator).append("\n{\"id\":").append(id).append(",\"content\":");
        quote(tokens[id], json);
        json.append(
                ",\"single_word\":false,\"lstrip\":false,\"rstrip\":false,\"normalized\":false,\"special\":")
            .append(hidden)
            .append('}');
        separator = ",";
      }
    }
    json.append("],\n\"normalizer\":").append(normalizer);
    json.append(",\n\"pre_tokenizer\":").append(preTokenizer);
    json.append(",\n\"decoder\":").append(decoder);
    json.append(",\n\"post_processor\":");
  }

  private void vocabulary(StringBuilder json) {
    json.append(",\"vocab\":{");
    String separator = "";
    for (int id = 0; id < tokens.length; id++) {
      // Unused tokens only fill the matrix up to a round size; the model's own tokenizer does not
      // have them.
      if (type(id) != UNUSED) {
        json.append(separator);
        quote(tokens[id], json);
        json.append(':').append(id);
        separator = ",";
      }
    }
    json.append('}');
  }

  private void postProcessor(boolean bosByDefault, boolean eosByDefault, StringBuilder json) {
    String bos = flag("add_bos_token", bosByDefault) ? special.bos() : null;
    String eos = flag("add_eos_token", eosByDefault) ? special.eos() : null;
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

  private String tokenText(String key) {
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
