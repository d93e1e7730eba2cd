package org.rlhf4j.lora;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import org.rlhf4j.InputException;
import org.rlhf4j.graph.Parameter;
import org.rlhf4j.graph.Parameters;
import org.rlhf4j.tensor.DType;
import org.rlhf4j.tensor.Device;
import org.rlhf4j.tensor.LoraSegment;
import org.rlhf4j.tensor.Tensor;

/**
 * One role's adapter: A and B for each targeted module, and any heads that are trained with them,
 * in one set of parameters. Names are the base's module names ("model.layers.0.self_attn.q_proj")
 * with ".lora_A" and ".lora_B".
 */
public final class LoraAdapter implements AutoCloseable {
  /**
   * A linear layer that can have an adapter.
   *
   * @param fanInFanOut whether the checkpoint stores its matrix as [in, out], as PEFT calls it; A
   *     and B are [r, in] and [out, r] all the same
   */
  public record Module(String name, long in, long out, boolean fanInFanOut) {}

  private final LoraConfig config;
  private final Parameters parameters;
  private final Map<String, Module> modules = new LinkedHashMap<>();

  /**
   * A new adapter with A drawn as PEFT draws it (Kaiming uniform with a = √5: U(±1/√in)) and B
   * zero: it changes nothing yet.
   *
   * @param modules all linear layers of the base; the config picks among them
   * @param extra heads to be trained along
   */
  public LoraAdapter(
      Device device,
      LoraConfig config,
      List<Module> modules,
      List<Parameters.Spec> extra,
      boolean trainable,
      long seed) {
    this.config = config;
    List<Parameters.Spec> specs = new ArrayList<>();
    for (Module m : modules) {
      if (config.targets().select(m.name())) {
        this.modules.put(m.name(), m);
        int r = config.rankOf(m.name());
        specs.add(Parameters.Spec.of(m.name() + ".lora_A", r, m.in()));
        specs.add(Parameters.Spec.of(m.name() + ".lora_B", m.out(), r));
      }
    }
    if (this.modules.isEmpty()) {
      throw new InputException(
          "lora.target_modules: "
              + config.targets().modules()
              + " selects no linear layer of this model; it has "
              + modules.stream()
                  .map(m -> m.name().substring(m.name().lastIndexOf('.') + 1))
                  .distinct()
                  .toList());
    }
    specs.addAll(extra);
    parameters = new Parameters(device, specs, DType.F32, trainable);
    SplittableRandom random = new SplittableRandom(seed);
    for (Module m : this.modules.values()) {
      Tensor a = parameters.get(m.name() + ".lora_A").value();
      float[] values = new float[(int) a.elements()];
      double bound = 1 / Math.sqrt(m.in());
      for (int i = 0; i < values.length; i++) {
        values[i] = (float) (random.nextDouble() * 2 * bound - bound);
      }
      a.copyFrom(values);
    }
  }

  public LoraConfig config() {
    return config;
  }

  public Parameters parameters() {
    return parameters;
  }

  /** The modules that have an adapter, by name. */
  public Map<String, Module> modules() {
    return modules;
  }

  public boolean hasModule(String name) {
    return modules.containsKey(name);
  }

  public Parameter a(String module) {
    return parameters.get(module + ".lora_A");
  }

  public Parameter b(String module) {
    return parameters.get(module + ".lora_B");
  }

  /** Rows [begin, end) through this adapter's part for {@code module}. */
  public LoraSegment segment(String module, long begin, long end) {
    Parameter a = a(module);
    Parameter b = b(module);
    return new LoraSegment(
        begin, end, config.scaleOf(module), a.value(), b.value(), a.grad(), b.grad());
  }

  @Override
  public void close() {
    parameters.close();
  }
}
