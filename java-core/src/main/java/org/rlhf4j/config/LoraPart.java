package org.rlhf4j.config;

import java.util.List;
import java.util.Map;
import org.rlhf4j.lora.LoraConfig;

/**
 * The adapter to train, where none is given to start from.
 *
 * @param r rank
 * @param alpha scale is alpha / r, or alpha / sqrt(r) with useRslora
 * @param dropout on the adapter's input, in [0, 1)
 * @param targetModules names as PEFT has them, or the one name {@code all-linear}
 */
public record LoraPart(
    int r, double alpha, double dropout, boolean useRslora, List<String> targetModules) {
  static LoraPart from(Settings s) {
    return new LoraPart(
        s.integer("lora.r"),
        s.number("lora.alpha"),
        s.number("lora.dropout"),
        s.flag("lora.use_rslora"),
        s.names("lora.target_modules"));
  }

  public LoraConfig toLoraConfig() {
    return new LoraConfig(
        r, (float) alpha, (float) dropout, targetModules, useRslora, Map.of(), Map.of());
  }
}
