package org.rlhf4j.nn.families;

import java.util.List;
import org.rlhf4j.nn.ModelConfig;
import org.rlhf4j.nn.NormKind;

/**
 * Llama 2 and 3, and all that is wired like them: RMS norms before attention and MLP, rotary
 * positions, a gated MLP.
 */
final class Llama implements Family {
  @Override
  public List<String> modelTypes() {
    return List.of("llama");
  }

  @Override
  public ModelConfig read(ConfigJson json) {
    boolean bias = json.flag("attention_bias", false);
    return wiring(json, bias, bias, json.flag("mlp_bias", false)).build();
  }

  /** What other families begin with. */
  static Wiring wiring(ConfigJson json, boolean qkvBias, boolean oBias, boolean mlpBias) {
    Wiring wiring = new Wiring(json).sizes();
    return wiring
        .tokens("model.embed_tokens")
        .finalNorm("model.norm")
        .head("lm_head", false)
        .block("model.layers.")
        .norms(NormKind.RMS, json.number("rms_norm_eps", 1e-6))
        .attention(
            "input_layernorm",
            qkvBias,
            oBias,
            "self_attn.o_proj",
            "self_attn.q_proj",
            "self_attn.k_proj",
            "self_attn.v_proj")
        .mlp(
            "post_attention_layernorm",
            json.gatedActivation("hidden_act", "silu"),
            mlpBias,
            "mlp.down_proj",
            "mlp.gate_proj",
            "mlp.up_proj")
        .rope(Ropes.of(json, wiring.headSize()));
  }
}
