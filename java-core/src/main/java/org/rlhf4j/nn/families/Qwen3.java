package org.rlhf4j.nn.families;

import java.util.List;
import org.rlhf4j.nn.ModelConfig;

/** Qwen 3: Llama's wiring, with a norm of each head's query and key. */
final class Qwen3 implements Family {
  @Override
  public List<String> modelTypes() {
    return List.of("qwen3");
  }

  @Override
  public ModelConfig read(ConfigJson json) {
    boolean bias = json.flag("attention_bias", false);
    Wiring wiring =
        Llama.wiring(json, bias, bias, false).headNorms("self_attn.q_norm", "self_attn.k_norm");
    return Qwen2.windows(json, wiring).build();
  }
}
