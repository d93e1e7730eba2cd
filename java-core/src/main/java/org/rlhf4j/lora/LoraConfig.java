package org.rlhf4j.lora;

import java.util.List;
import java.util.Map;
import java.util.regex.Pattern;

/**
 * What PEFT's LoraConfig says, as far as it is supported.
 *
 * @param r rank
 * @param alpha scale is alpha / r, or alpha / √r with rsLoRA
 * @param dropout on the adapter's input, in training
 * @param targetModules names or suffixes ("q_proj"); one entry that is a regular expression is
 *     allowed where PEFT writes a string
 * @param useRslora rank-stabilised scale
 * @param rankPattern ranks of single modules, by name or regular expression
 * @param alphaPattern alphas of single modules
 */
public record LoraConfig(
    int r,
    float alpha,
    float dropout,
    List<String> targetModules,
    boolean useRslora,
    Map<String, Integer> rankPattern,
    Map<String, Float> alphaPattern) {
  /** All linear layers of the decoder's layers, whatever the family calls them. */
  public static final List<String> ALL_LINEAR = List.of("all-linear");

  /** r 8, alpha 16, dropout 0.05 on all linear layers. */
  public static LoraConfig defaults() {
    return new LoraConfig(8, 16, 0.05f, ALL_LINEAR, false, Map.of(), Map.of());
  }

  public static LoraConfig rank(int r) {
    return new LoraConfig(r, 2f * r, 0.05f, ALL_LINEAR, false, Map.of(), Map.of());
  }

  public LoraConfig alpha(float value) {
    return new LoraConfig(r, value, dropout, targetModules, useRslora, rankPattern, alphaPattern);
  }

  public LoraConfig dropout(float value) {
    return new LoraConfig(r, alpha, value, targetModules, useRslora, rankPattern, alphaPattern);
  }

  /** The same with {@link #ALL_LINEAR} spelt out in the last words of a model's modules. */
  LoraConfig forModules(List<String> modules) {
    if (!targetModules.equals(ALL_LINEAR)) {
      return this;
    }
    List<String> names =
        modules.stream().map(m -> m.substring(m.lastIndexOf('.') + 1)).distinct().toList();
    return new LoraConfig(r, alpha, dropout, names, useRslora, rankPattern, alphaPattern);
  }

  /** Whether PEFT would give {@code module} ("model.layers.0.self_attn.q_proj") an adapter. */
  public boolean targets(String module) {
    for (String target : targetModules) {
      if (module.equals(target) || module.endsWith("." + target)) {
        return true;
      }
    }
    return targetModules.size() == 1
        && !targetModules.get(0).matches("[A-Za-z0-9_.]+")
        && Pattern.matches(targetModules.get(0), module);
  }

  public int rankOf(String module) {
    return byPattern(rankPattern, module, r);
  }

  public float scaleOf(String module) {
    double a = byPattern(alphaPattern, module, alpha);
    int rank = rankOf(module);
    return (float) (useRslora ? a / Math.sqrt(rank) : a / rank);
  }

  private static <T> T byPattern(Map<String, T> pattern, String module, T otherwise) {
    for (Map.Entry<String, T> e : pattern.entrySet()) {
      // PEFT's rule: the key is a regular expression that matches the end of the module's name.
      if (Pattern.matches("(.*\\.)?(" + e.getKey() + ")", module)) {
        return e.getValue();
      }
    }
    return otherwise;
  }
}
