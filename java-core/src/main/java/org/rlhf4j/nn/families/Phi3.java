package org.rlhf4j.nn.families;

import java.util.List;
import org.rlhf4j.nn.ModelConfig;

/** Phi-3 and 4: Llama's wiring, with q, k and v in one matrix, and gate and up in another. */
final class Phi3 implements Family {
  @Override
  public List<String> modelTypes() {
    return List.of("phi3");
  }

  @Override
  public ModelConfig read(ConfigJson json) {
    json.mustBeOff("attention_bias");
    int window = json.size("sliding_window", 0);
    return Llama.wiring(json, false, false, false)
        .attention("input_layernorm", false, false, "self_attn.o_proj", "self_attn.qkv_proj")
        .mlp(
            "post_attention_layernorm",
            json.gatedActivation("hidden_act", "silu"),
            false,
            "mlp.down_proj",
            "mlp.gate_up_proj")
        .window(i -> window)
        .build();
  }
}
