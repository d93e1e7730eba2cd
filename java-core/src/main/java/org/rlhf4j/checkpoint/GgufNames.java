package org.rlhf4j.checkpoint;

import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** llama.cpp's tensor names in Hugging Face's words, for the Llama family. */
final class GgufNames {
  private static final Pattern BLOCK =
      Pattern.compile("blk\\.(0|[1-9][0-9]{0,5})\\.([a-z_]+)\\.(weight|bias)");

  private static final Map<String, String> OUTSIDE =
      Map.of(
          "token_embd.weight", "model.embed_tokens.weight",
          "output_norm.weight", "model.norm.weight",
          "output.weight", "lm_head.weight");

  private static final Map<String, String> IN_BLOCK =
      Map.ofEntries(
          Map.entry("attn_norm", "input_layernorm"),
          Map.entry("attn_q", "self_attn.q_proj"),
          Map.entry("attn_k", "self_attn.k_proj"),
          Map.entry("attn_v", "self_attn.v_proj"),
          Map.entry("attn_output", "self_attn.o_proj"),
          Map.entry("attn_q_norm", "self_attn.q_norm"),
          Map.entry("attn_k_norm", "self_attn.k_norm"),
          Map.entry("ffn_norm", "post_attention_layernorm"),
          Map.entry("ffn_gate", "mlp.gate_proj"),
          Map.entry("ffn_up", "mlp.up_proj"),
          Map.entry("ffn_down", "mlp.down_proj"));

  private static final Pattern LAYER =
      Pattern.compile("model\\.layers\\.(0|[1-9][0-9]{0,5})\\.([a-z_.]+)\\.(weight|bias)");

  private GgufNames() {}

  /** The other way round than {@link #toHuggingFace}; null likewise. */
  static String toGguf(String name) {
    String outside = keyOf(OUTSIDE, name);
    if (outside != null) {
      return outside;
    }
    Matcher matcher = LAYER.matcher(name);
    String inBlock = matcher.matches() ? keyOf(IN_BLOCK, matcher.group(2)) : null;
    return inBlock == null
        ? null
        : "blk." + matcher.group(1) + "." + inBlock + "." + matcher.group(3);
  }

  private static String keyOf(Map<String, String> map, String value) {
    return map.entrySet().stream()
        .filter(e -> e.getValue().equals(value))
        .map(Map.Entry::getKey)
        .findFirst()
        .orElse(null);
  }

  /** Null when the tensor has no place in a model of the Llama family. */
  static String toHuggingFace(String name) {
    String outside = OUTSIDE.get(name);
    if (outside != null) {
      return outside;
    }
    Matcher matcher = BLOCK.matcher(name);
    if (!matcher.matches() || !IN_BLOCK.containsKey(matcher.group(2))) {
      return null;
    }
    return "model.layers."
        + matcher.group(1)
        + "."
        + IN_BLOCK.get(matcher.group(2))
        + "."
        + matcher.group(3);
  }
}
