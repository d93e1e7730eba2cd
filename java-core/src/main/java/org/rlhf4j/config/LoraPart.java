package org.rlhf4j.config;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.rlhf4j.InputException;
import org.rlhf4j.lora.LoraConfig;
import org.rlhf4j.lora.LoraTargets;
import org.rlhf4j.lora.ModulePattern;

/**
 * The adapter to train, where none is given to start from.
 *
 * @param r rank
 * @param alpha scale is alpha / r, or alpha / sqrt(r) with useRslora
 * @param dropout on the adapter's input, in [0, 1)
 * @param targetModules which modules get an adapter
 * @param excludeModules which never do
 * @param rankPattern ranks of single modules, as PEFT's rank_pattern
 * @param alphaPattern alphas of single modules, as PEFT's alpha_pattern
 */
public record LoraPart(
    int r,
    double alpha,
    double dropout,
    boolean useRslora,
    ModulePattern targetModules,
    ModulePattern excludeModules,
    Map<String, Integer> rankPattern,
    Map<String, Float> alphaPattern) {
  static LoraPart from(Settings s) {
    headsOnly(s);
    return new LoraPart(
        s.integer("lora.r"),
        s.number("lora.alpha"),
        s.number("lora.dropout"),
        s.flag("lora.use_rslora"),
        modules(s, "lora.target_modules"),
        modules(s, "lora.exclude_modules"),
        ranks(s),
        alphas(s));
  }

  public LoraConfig toLoraConfig() {
    return new LoraConfig(
        r,
        (float) alpha,
        (float) dropout,
        new LoraTargets(targetModules, excludeModules, List.of(), List.of()),
        useRslora,
        rankPattern,
        alphaPattern);
  }

  @SuppressWarnings("unchecked")
  private static ModulePattern modules(Settings s, String key) {
    Object value = s.value(key);
    if (value == null) {
      return ModulePattern.NONE;
    }
    if (value instanceof List<?> names && !names.equals(List.of("all-linear"))) {
      return new ModulePattern.Names((List<String>) names);
    }
    try {
      return ModulePattern.ofText(value instanceof String text ? text : "all-linear");
    } catch (InputException e) {
      throw s.problem(key, e.getMessage());
    }
  }

  private static Map<String, Integer> ranks(Settings s) {
    Map<String, Integer> ranks = new LinkedHashMap<>();
    forEach(
        s,
        "lora.rank_pattern",
        (name, value) -> {
          if (!(value instanceof Integer rank) || rank < 1 || rank > 4096) {
            throw s.problem(
                "lora.rank_pattern",
                name + ": expected a whole number in [1, 4096], found " + value);
          }
          ranks.put(name, rank);
        });
    return ranks;
  }

  private static Map<String, Float> alphas(Settings s) {
    Map<String, Float> alphas = new LinkedHashMap<>();
    forEach(
        s,
        "lora.alpha_pattern",
        (name, value) -> {
          if (value.doubleValue() <= 0) {
            throw s.problem("lora.alpha_pattern", name + ": expected a number > 0, found " + value);
          }
          alphas.put(name, value.floatValue());
        });
    return alphas;
  }

  private static void forEach(
      Settings s, String key, java.util.function.BiConsumer<String, Number> each) {
    Map<String, Number> numbers = s.numbers(key);
    if (numbers == null) {
      return;
    }
    numbers.forEach(
        (name, value) -> {
          try {
            ModulePattern.ofText(name);
          } catch (InputException e) {
            throw s.problem(key, e.getMessage());
          }
          each.accept(name, value);
        });
  }

  /** A copy of another layer for each adapter would need a base of its own; heads do not. */
  private static void headsOnly(Settings s) {
    List<String> saved = s.names("lora.modules_to_save");
    String head =
        switch (s.command()) {
          case REWARD -> "score";
          case PPO -> "v_head";
          default -> null;
        };
    for (String name : saved == null ? List.<String>of() : saved) {
      if (!name.equals(head)) {
        throw s.problem(
            "lora.modules_to_save",
            "'"
                + name
                + "' is not supported: beside an adapter, "
                + (head == null ? "nothing else is" : "only the head (" + head + ") is")
                + " trained whole; training: full (sft) trains all weights");
      }
    }
  }
}
