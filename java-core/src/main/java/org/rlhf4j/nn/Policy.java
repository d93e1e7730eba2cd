package org.rlhf4j.nn;

import java.util.List;
import org.rlhf4j.graph.Graph;
import org.rlhf4j.graph.Parameter;
import org.rlhf4j.graph.Parameters;
import org.rlhf4j.graph.ScalarHead;
import org.rlhf4j.graph.Var;
import org.rlhf4j.lora.LoraAdapter;
import org.rlhf4j.lora.LoraConfig;

/**
 * The policy of PPO: an adapter on the shared base, with a value head on the same hidden states, as
 * TRL's AutoModelForCausalLMWithValueHead has it.
 *
 * @param adapter also holds the value head's parameters
 */
public record Policy(CausalLm base, LoraAdapter adapter) {
  /** TRL's names, as they stand in the value head's own safetensors file. */
  public static final String VALUE_WEIGHT = "v_head.summary.weight";

  public static final String VALUE_BIAS = "v_head.summary.bias";

  /** A new policy: an adapter that changes nothing yet, and a value head that says 0. */
  public static Policy create(CausalLm base, LoraConfig config, long seed) {
    return new Policy(
        base,
        new LoraAdapter(
            base.device(),
            config,
            CausalLm.modules(base.config()),
            valueHead(base.config()),
            true,
            seed));
  }

  /** The value head's parameters: weight [1,H] and bias [1]. */
  public static List<Parameters.Spec> valueHead(ModelConfig config) {
    return List.of(
        Parameters.Spec.of(VALUE_WEIGHT, 1, config.hiddenSize()),
        Parameters.Spec.of(VALUE_BIAS, 1));
  }

  /** hidden float [T,H] → values f32 [T]. */
  public Var values(Graph g, Var hidden) {
    Parameters p = adapter.parameters();
    Parameter bias = p.get(VALUE_BIAS);
    return ScalarHead.apply(g, hidden, p.get(VALUE_WEIGHT), bias);
  }
}
