package org.rlhf4j.nn.families;

import java.util.List;
import org.rlhf4j.nn.ModelConfig;

/** Mistral: Llama's wiring, with a sliding window in every layer where the config has one. */
final class Mistral implements Family {
  @Override
  public List<String> modelTypes() {
    return List.of("mistral");
  }

  @Override
  public ModelConfig read(ConfigJson json) {
    int window = json.size("sliding_window", 0);
    return Llama.wiring(json, false, false, false).window(i -> window).build();
  }
}
