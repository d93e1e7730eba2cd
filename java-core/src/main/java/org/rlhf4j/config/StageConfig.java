package org.rlhf4j.config;

import java.util.List;
import java.util.Map;

/** What the configurations of all stages share. */
public sealed interface StageConfig permits SftConfig, RewardConfig, PpoConfig {
  RunPaths paths();

  RuntimeConfig runtime();

  TrainingConfig training();

  LoraPart lora();

  /** The keys behind the record; the record's other parts are derived from them. */
  Settings settings();

  /** This configuration with one key changed; see {@link Settings#with}. */
  StageConfig with(String key, Object value);

  default Command command() {
    return settings().command();
  }

  /** What config.yaml holds; see {@link Settings#effective}. */
  default Map<String, Object> effective(Map<String, String> versions) {
    return settings().effective(versions);
  }

  default List<String> warnings() {
    return settings().warnings();
  }
}
