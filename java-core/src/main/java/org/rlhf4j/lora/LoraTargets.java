package org.rlhf4j.lora;

import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Which modules get an adapter, by the rules of PEFT's check_target_module_exists.
 *
 * @param modules PEFT's target_modules
 * @param excluded PEFT's exclude_modules: never, whatever else says
 * @param layers PEFT's layers_to_transform; empty: all. A module that is named in full is not asked
 *     for its layer
 * @param layersPattern what stands in front of a layer's number ("layers", "h"); empty: anything
 */
public record LoraTargets(
    ModulePattern modules,
    ModulePattern excluded,
    List<Integer> layers,
    List<String> layersPattern) {
  public LoraTargets {
    layers = List.copyOf(layers);
    layersPattern = List.copyOf(layersPattern);
  }

  public static LoraTargets of(ModulePattern modules) {
    return new LoraTargets(modules, ModulePattern.NONE, List.of(), List.of());
  }

  /** Whether PEFT would give {@code module} ("model.layers.0.self_attn.q_proj") an adapter. */
  public boolean select(String module) {
    if (excluded.matches(module) || !modules.matches(module)) {
      return false;
    }
    boolean wholeName = modules instanceof ModulePattern.Names n && n.matchesWhole(module);
    return layers.isEmpty() || wholeName || layers.contains(layerOf(module));
  }

  /** The first number that stands where a layer's number can; -1 where none does. */
  private int layerOf(String module) {
    List<String> before =
        layersPattern.isEmpty()
            ? List.of(".*?\\.[^.]*")
            : layersPattern.stream().map(p -> "(?:^|.*?\\.)" + ModulePattern.python(p)).toList();
    for (String expression : before) {
      Pattern pattern = ModulePattern.compile(expression + "\\.(\\d{1,9})\\.", expression);
      Matcher matcher = pattern.matcher(module);
      if (matcher.lookingAt()) {
        return Integer.parseInt(matcher.group(matcher.groupCount()));
      }
    }
    return -1;
  }
}
