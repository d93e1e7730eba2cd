package org.rlhf4j.nn.families;

import java.util.List;
import org.rlhf4j.nn.ModelConfig;
import org.rlhf4j.nn.NormKind;

/**
 * GPT-2: layer norms, learned positions, biases everywhere, an MLP without a gate, and matrices
 * that are stored as [in, out].
 */
final class Gpt2 implements Family {
  @Override
  public List<String> modelTypes() {
    return List.of("gpt2");
  }

  @Override
  public ModelConfig read(ConfigJson json) {
    json.mustBeOff("add_cross_attention");
    json.mustBeOn("scale_attn_weights");
    boolean byLayer = json.flag("scale_attn_by_inverse_layer_idx", false);
    int inner = json.size("n_inner", 4 * json.size("n_embd"));

    Wiring wiring = new Wiring(json).sizes("n_embd", inner, "n_layer", "n_head", "n_positions");
    double scale = 1 / Math.sqrt(wiring.headSize());
    return wiring
        .tokens("transformer.wte")
        .learnedPositions("transformer.wpe")
        .finalNorm("transformer.ln_f")
        .head("lm_head", true)
        .block("transformer.h.")
        .norms(NormKind.LAYER, json.number("layer_norm_epsilon", 1e-5))
        .attention("ln_1", true, true, "attn.c_proj", "attn.c_attn")
        .mlp("ln_2", json.plainActivation("activation_function"), true, "mlp.c_proj", "mlp.c_fc")
        .transposed()
        .scale(i -> byLayer ? scale / (i + 1) : scale)
        .build();
  }
}
