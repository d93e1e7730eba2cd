package org.rlhf4j.nn.families;

import java.util.List;
import org.rlhf4j.nn.ModelConfig;
import org.rlhf4j.nn.NormKind;
import org.rlhf4j.nn.Rope;

/**
 * Gemma 3, text: norms on both sides of attention and MLP and of each head's query and key, their
 * weights stored as the distance from one; embeddings scaled by √hidden; five layers with a sliding
 * window and rotary positions of their own for each that sees everything.
 */
final class Gemma3 implements Family {
  @Override
  public List<String> modelTypes() {
    return List.of("gemma3_text");
  }

  @Override
  public ModelConfig read(ConfigJson json) {
    json.mustBeAbsent("attn_logit_softcapping");
    json.mustBeAbsent("final_logit_softcapping");
    json.mustBeOff("use_bidirectional_attention");
    boolean bias = json.flag("attention_bias", false);
    double scale = 1 / Math.sqrt(json.number("query_pre_attn_scalar", 256));
    int pattern = json.size("sliding_window_pattern", 6);
    int window = json.size("sliding_window", 4096);

    Wiring wiring = Llama.wiring(json, bias, bias, false);
    boolean[] sliding = wiring.sliding(i -> (i + 1) % pattern != 0);
    return wiring
        .embeddingScale(Math.sqrt(wiring.hidden()))
        .head("lm_head", true)
        .norms(NormKind.RMS_ONE_PLUS, json.number("rms_norm_eps", 1e-6))
        .headNorms("self_attn.q_norm", "self_attn.k_norm")
        .normsAfter("post_attention_layernorm", "post_feedforward_layernorm")
        .mlp(
            "pre_feedforward_layernorm",
            json.gatedActivation("hidden_activation", "gelu_pytorch_tanh"),
            false,
            "mlp.down_proj",
            "mlp.gate_proj",
            "mlp.up_proj")
        .scale(i -> scale)
        .window(i -> sliding[i] ? window : 0)
        .ropes(ropes(json, wiring.headSize()), i -> sliding[i] ? 1 : 0)
        .build();
  }

  /** Of the layers that see everything, and of those that slide. */
  private static List<Rope> ropes(ConfigJson json, int headSize) {
    ConfigJson both = json.object("rope_parameters");
    ConfigJson full =
        both.has("full_attention") ? both.object("full_attention") : json.object("rope_scaling");
    return List.of(
        Ropes.of(json, full, json.number("rope_theta", 1e6), headSize),
        Ropes.of(
            json,
            both.object("sliding_attention"),
            json.number("rope_local_base_freq", 1e4),
            headSize));
  }
}
