package org.rlhf4j.tokenizer;

import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeSet;
import java.util.function.Predicate;

/**
 * How text is split before byte-level BPE, by the name that a GGUF file gives in {@code
 * tokenizer.ggml.pre}. Each entry is the split that the model's own tokenizer.json has.
 */
record PreTokenizers(String normalizer, String preTokenizer, boolean ignoreMerges, boolean addBos) {
  private static final String BYTE_LEVEL_WITH_REGEX =
      "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,\"use_regex\":true}";
  private static final String BYTE_LEVEL =
      "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,\"use_regex\":false}";

  private static final String LLAMA3 =
      "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r"
          + "\\n"
          + "\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r"
          + "\\n"
          + "]*|\\s*[\\r"
          + "\\n"
          + "]+|\\s+(?!\\S)|\\s+";
  private static final String QWEN2 = LLAMA3.replace("\\p{N}{1,3}", "\\p{N}");
  private static final String TEKKEN =
      "[^\\r"
          + "\\n"
          + "\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+|[^\\r"
          + "\\n"
          + "\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*|\\p{N}|"
          + " ?[^\\s\\p{L}\\p{N}]+[\\r"
          + "\\n"
          + "/]*|\\s*[\\r"
          + "\\n"
          + "]+|\\s+(?!\\S)|\\s+";

  private static final String O200K_WORD =
      "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]";
  private static final String O200K =
      O200K_WORD
          + "*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
          + O200K_WORD
          + "+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\\p{N}{1,3}|"
          + " ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

  /** llama.cpp's own, for files that were made before there were names. */
  private static final String[] DEFAULT = {
    "[\\p{P}\\$\\+<=>\\^~\\|]+",
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)",
    "\\p{N}+",
    "[0-9][0-9][0-9]"
  };

  private static final Map<String, PreTokenizers> BY_NAME = new LinkedHashMap<>();

  static {
    PreTokenizers gpt2 = new PreTokenizers("null", BYTE_LEVEL_WITH_REGEX, false, false);
    PreTokenizers digits =
        new PreTokenizers(
            "null",
            "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Digits\",\"individual_digits\":true},"
                + BYTE_LEVEL_WITH_REGEX
                + "]}",
            false,
            false);
    register(gpt2, "gpt-2", "gpt2", "phi-2", "mpt", "olmo");
    register(digits, "smollm", "starcoder", "refact", "command-r", "codeshell");
    register(
        split("null", true, true, LLAMA3), "llama-bpe", "llama3", "llama-v3", "falcon3", "pixtral");
    register(split("null", false, false, LLAMA3), "dbrx", "smaug-bpe");
    register(split("{\"type\":\"NFC\"}", false, false, QWEN2), "qwen2", "deepseek-r1-qwen");
    register(split("null", false, false, QWEN2), "stablelm2", "hunyuan");
    register(split("null", true, true, TEKKEN), "tekken");
    register(split("null", false, false, O200K), "gpt-4o", "llama4");
    register(split("null", false, false, DEFAULT), "default");
  }

  private static void register(PreTokenizers kind, String... names) {
    for (String name : names) {
      BY_NAME.put(name, kind);
    }
  }

  /** Cut by each expression in turn, then the bytes written in BPE's alphabet. */
  private static PreTokenizers split(
      String normalizer, boolean ignoreMerges, boolean addBos, String... regexes) {
    StringBuilder all = new StringBuilder("{\"type\":\"Sequence\",\"pretokenizers\":[");
    for (String regex : regexes) {
      all.append("{\"type\":\"Split\",\"pattern\":{\"Regex\":\"")
          .append(regex.replace("\\", "\\\\"))
          .append("\"},\"behavior\":\"Isolated\",\"invert\":false},");
    }
    all.append(BYTE_LEVEL).append("]}");
    return new PreTokenizers(normalizer, all.toString(), ignoreMerges, addBos);
  }

  /** Null when the name is unknown. */
  static PreTokenizers of(String name) {
    return BY_NAME.get(name);
  }

  /** The first name whose pre-tokenizer, as JSON text, {@code fits}. */
  static Optional<String> nameOf(Predicate<String> fits) {
    return BY_NAME.entrySet().stream()
        .filter(e -> fits.test(e.getValue().preTokenizer()))
        .map(Map.Entry::getKey)
        .findFirst();
  }

  static Set<String> names() {
    return new TreeSet<>(BY_NAME.keySet());
  }
}
