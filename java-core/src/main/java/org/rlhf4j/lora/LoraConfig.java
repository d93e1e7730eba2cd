package org.rlhf4j.lora;

import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Map;

/**
 * What PEFT's LoraConfig says, as far as it is supported.
 *
 * @param r rank
 * @param alpha scale is alpha / r, or alpha / √r with rsLoRA
 * @param dropout on the adapter's input, in training
 * @param targets which modules get an adapter
 * @param useRslora rank-stabilised scale
 * @param rankPattern ranks of single modules: the first key that matches the end of a module's name
 *     counts; keys are names or regular expressions
 * @param alphaPattern alphas of single modules, likewise
 */
public record LoraConfig(
    int r,
    float alpha,
    float dropout,
    LoraTargets targets,
    boolean useRslora,
    Map<String, Integer> rankPattern,
    Map<String, Float> alphaPattern) {
  public LoraConfig {
    // The order of the keys counts, so Map.copyOf would not do.
    rankPattern = Collections.unmodifiableMap(new LinkedHashMap<>(rankPattern));
    alphaPattern = Collections.unmodifiableMap(new LinkedHashMap<>(alphaPattern));
  }

  /** r 8, alpha 16, dropout 0.05 on all projections of the decoder layers. */
  public static LoraConfig defaults() {
    return rank(8);
  }

  public static LoraConfig rank(int r) {
    LoraTargets all = LoraTargets.of(ModulePattern.ALL_LINEAR);
    return new LoraConfig(r, 2f * r, 0.05f, all, false, Map.of(), Map.of());
  }

  public LoraConfig alpha(float value) {
    return new LoraConfig(r, value, dropout, targets, useRslora, rankPattern, alphaPattern);
  }

  public LoraConfig dropout(float value) {
    return new LoraConfig(r, alpha, value, targets, useRslora, rankPattern, alphaPattern);
  }

  public LoraConfig targets(ModulePattern value) {
    return new LoraConfig(
        r, alpha, dropout, LoraTargets.of(value), useRslora, rankPattern, alphaPattern);
  }

  public int rankOf(String module) {
    return byPattern(rankPattern, module, r);
  }

  public float scaleOf(String module) {
    double a = byPattern(alphaPattern, module, alpha);
    int rank = rankOf(module);
    return (float) (useRslora ? a / Math.sqrt(rank) : a / rank);
  }

  /** PEFT's get_pattern_key. */
  private static <T> T byPattern(Map<String, T> pattern, String module, T otherwise) {
    for (Map.Entry<String, T> e : pattern.entrySet()) {
      String expression = "(.*\\.)?(" + ModulePattern.python(e.getKey()) + ")";
      if (ModulePattern.compile(expression, e.getKey()).matcher(module).matches()) {
        return e.getValue();
      }
    }
    return otherwise;
  }
}
