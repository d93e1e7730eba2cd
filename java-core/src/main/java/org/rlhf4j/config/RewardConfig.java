package org.rlhf4j.config;

/**
 * Training of a reward model.
 *
 * @param centerRewardsCoefficient weight of mean (chosen + rejected)² in the loss; 0: none
 * @param appendEos whether chosen and rejected end with EOS
 * @param queryTemplate how question and answer are joined: plain (one after the other) or chat
 *     (through the chat template)
 */
public record RewardConfig(
    RunPaths paths,
    RuntimeConfig runtime,
    TrainingConfig training,
    LoraPart lora,
    double centerRewardsCoefficient,
    boolean appendEos,
    String queryTemplate,
    Settings settings)
    implements StageConfig {
  public static RewardConfig defaults() {
    return from(Settings.defaults(Command.REWARD));
  }

  public static RewardConfig from(Settings s) {
    return new RewardConfig(
        RunPaths.from(s),
        RuntimeConfig.from(s),
        TrainingConfig.from(s),
        LoraPart.from(s),
        s.number("center_rewards_coefficient"),
        s.flag("append_eos"),
        s.text("query_template"),
        s);
  }

  /** This configuration with one key changed; see {@link Settings#with}. */
  public RewardConfig with(String key, Object value) {
    return from(settings.with(key, value));
  }
}
