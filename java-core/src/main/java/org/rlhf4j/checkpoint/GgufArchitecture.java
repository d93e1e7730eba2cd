package org.rlhf4j.checkpoint;

import java.nio.file.Path;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.rlhf4j.InputException;

/**
 * One of llama.cpp's architectures in Hugging Face's words: the model class, the tensors' names,
 * and how llama.cpp's converter changes their values.
 *
 * @param modelClass transformers' class
 * @param prefix what stands before a layer's number in Hugging Face's names
 * @param outside names outside of the layers
 * @param inLayer names within a layer, without ".weight" and ".bias"
 */
record GgufArchitecture(
    String modelClass,
    String prefix,
    Map<String, String> outside,
    Map<String, String> inLayer,
    Values values) {

  /** What the converter does to values. */
  enum Values {
    AS_IS,
    /** Rows of q and k are reordered so that rotary pairs are neighbours. */
    ROTARY_PAIRS,
    /** One is added to the weights of norms. */
    NORMS_PLUS_ONE,
    /** The layers' matrices are transposed to [out, in]. */
    TRANSPOSED
  }

  private static final Pattern BLOCK =
      Pattern.compile("blk\\.(0|[1-9][0-9]{0,5})\\.([a-z_]+)\\.(weight|bias)");

  private static final Map<String, String> DECODER =
      Map.of(
          "token_embd", "model.embed_tokens",
          "output_norm", "model.norm",
          "output", "lm_head");

  private static final Map<String, String> LLAMA =
      Map.ofEntries(
          Map.entry("attn_norm", "input_layernorm"),
          Map.entry("attn_q", "self_attn.q_proj"),
          Map.entry("attn_k", "self_attn.k_proj"),
          Map.entry("attn_v", "self_attn.v_proj"),
          Map.entry("attn_output", "self_attn.o_proj"),
          Map.entry("ffn_norm", "post_attention_layernorm"),
          Map.entry("ffn_gate", "mlp.gate_proj"),
          Map.entry("ffn_up", "mlp.up_proj"),
          Map.entry("ffn_down", "mlp.down_proj"));

  private static final Map<String, String> HEAD_NORMS =
      Map.of("attn_q_norm", "self_attn.q_norm", "attn_k_norm", "self_attn.k_norm");

  private static final Map<String, GgufArchitecture> BY_NAME =
      Map.of(
          "llama", decoder("LlamaForCausalLM", LLAMA, Values.ROTARY_PAIRS),
          "qwen2", decoder("Qwen2ForCausalLM", LLAMA, Values.AS_IS),
          "qwen3", decoder("Qwen3ForCausalLM", with(LLAMA, HEAD_NORMS), Values.AS_IS),
          "gemma3",
              decoder(
                  "Gemma3ForCausalLM",
                  with(
                      with(LLAMA, HEAD_NORMS),
                      Map.of(
                          "post_attention_norm", "post_attention_layernorm",
                          "ffn_norm", "pre_feedforward_layernorm",
                          "post_ffw_norm", "post_feedforward_layernorm")),
                  Values.NORMS_PLUS_ONE),
          "phi3",
              decoder(
                  "Phi3ForCausalLM",
                  with(
                      LLAMA,
                      Map.of("attn_qkv", "self_attn.qkv_proj", "ffn_up", "mlp.gate_up_proj")),
                  Values.AS_IS),
          "gpt2",
              new GgufArchitecture(
                  "GPT2LMHeadModel",
                  "transformer.h.",
                  Map.of(
                      "token_embd", "transformer.wte",
                      "position_embd", "transformer.wpe",
                      "output_norm", "transformer.ln_f",
                      "output", "lm_head"),
                  Map.of(
                      "attn_norm", "ln_1",
                      "attn_qkv", "attn.c_attn",
                      "attn_output", "attn.c_proj",
                      "ffn_norm", "ln_2",
                      "ffn_up", "mlp.c_fc",
                      "ffn_down", "mlp.c_proj"),
                  Values.TRANSPOSED));

  private static GgufArchitecture decoder(
      String modelClass, Map<String, String> inLayer, Values values) {
    return new GgufArchitecture(modelClass, "model.layers.", DECODER, inLayer, values);
  }

  private static Map<String, String> with(Map<String, String> names, Map<String, String> more) {
    Map<String, String> all = new HashMap<>(names);
    all.putAll(more);
    return Map.copyOf(all);
  }

  /** The architecture that a file names. */
  static GgufArchitecture of(String name, Path file) {
    GgufArchitecture found = BY_NAME.get(name);
    if (found == null) {
      List<String> known = BY_NAME.keySet().stream().sorted().toList();
      throw InputException.at(
          file,
          "general.architecture: expected one of "
              + String.join(", ", known)
              + ", found '"
              + name
              + "'");
    }
    return found;
  }

  /** Hugging Face's name of a tensor; null when it has no place in such a model. */
  String toHuggingFace(String name) {
    Matcher matcher = BLOCK.matcher(name);
    if (matcher.matches()) {
      String part = inLayer.get(matcher.group(2));
      return part == null ? null : prefix + matcher.group(1) + "." + part + "." + matcher.group(3);
    }
    int dot = name.lastIndexOf('.');
    String whole = dot < 0 ? null : outside.get(name.substring(0, dot));
    return whole == null || !name.matches(".*\\.(weight|bias)")
        ? null
        : whole + name.substring(dot);
  }

  /**
   * The other way round than {@link #toHuggingFace}; null likewise. The first part of a name
   * ("model.", "transformer.") may be missing, as in {@link ModelFiles#tensor}.
   */
  String toGguf(String name) {
    int dot = name.lastIndexOf('.');
    String kind = dot < 0 ? "" : name.substring(dot);
    if (!kind.equals(".weight") && !kind.equals(".bias")) {
      return null;
    }
    String root = prefix.substring(0, prefix.indexOf('.') + 1);
    String layers = prefix.substring(root.length());
    String bare = name.substring(name.startsWith(root) ? root.length() : 0, dot);
    Matcher matcher = Pattern.compile(Pattern.quote(layers) + "([0-9]{1,6})\\.(.+)").matcher(bare);
    if (matcher.matches()) {
      String part = keyOf(inLayer, matcher.group(2));
      return part == null ? null : "blk." + matcher.group(1) + "." + part + kind;
    }
    String whole = keyOf(outside, root + bare);
    whole = whole == null ? keyOf(outside, bare) : whole;
    return whole == null ? null : whole + kind;
  }

  private static String keyOf(Map<String, String> map, String value) {
    return map.entrySet().stream()
        .filter(e -> e.getValue().equals(value))
        .map(Map.Entry::getKey)
        .findFirst()
        .orElse(null);
  }
}
