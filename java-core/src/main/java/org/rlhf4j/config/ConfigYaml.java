package org.rlhf4j.config;

import java.util.Map;
import org.yaml.snakeyaml.DumperOptions;
import org.yaml.snakeyaml.Yaml;

/** config.yaml as text. */
public final class ConfigYaml {
  private ConfigYaml() {}

  /** {@code effective} ({@link Settings#effective}) as YAML, one key a line, in its order. */
  public static String write(Map<String, Object> effective) {
    DumperOptions options = new DumperOptions();
    options.setDefaultFlowStyle(DumperOptions.FlowStyle.BLOCK);
    options.setSplitLines(false);
    options.setAllowUnicode(true);
    options.setDereferenceAliases(true);
    return new Yaml(options).dump(effective);
  }
}
