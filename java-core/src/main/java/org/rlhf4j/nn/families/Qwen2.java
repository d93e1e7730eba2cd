package org.rlhf4j.nn.families;

import java.util.List;
import org.rlhf4j.nn.ModelConfig;

/** Qwen 2 and 2.5: Llama's wiring, with a bias on q, k and v. */
final class Qwen2 implements Family {
  @Override
  public List<String> modelTypes() {
    return List.of("qwen2");
  }

  @Override
  public ModelConfig read(ConfigJson json) {
    return windows(json, Llama.wiring(json, true, false, false)).build();
  }

  /** With use_sliding_window, the layers from max_window_layers on slide, or those named so. */
  static Wiring windows(ConfigJson json, Wiring wiring) {
    if (!json.flag("use_sliding_window", false) || !json.has("sliding_window")) {
      return wiring;
    }
    int window = json.size("sliding_window");
    int full = (int) json.number("max_window_layers", 28);
    boolean[] sliding = wiring.sliding(i -> i >= full);
    return wiring.window(i -> sliding[i] ? window : 0);
  }
}
