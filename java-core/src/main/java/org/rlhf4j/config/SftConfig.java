package org.rlhf4j.config;

/**
 * Supervised fine-tuning.
 *
 * @param full whether all weights are trained; otherwise an adapter
 * @param appendEos whether each completion ends with EOS
 */
public record SftConfig(
    RunPaths paths,
    RuntimeConfig runtime,
    TrainingConfig training,
    LoraPart lora,
    boolean full,
    boolean appendEos,
    Settings settings)
    implements StageConfig {
  public static SftConfig defaults() {
    return from(Settings.defaults(Command.SFT));
  }

  public static SftConfig from(Settings s) {
    return new SftConfig(
        RunPaths.from(s),
        RuntimeConfig.from(s),
        TrainingConfig.from(s),
        LoraPart.from(s),
        s.text("training").equals("full"),
        s.flag("append_eos"),
        s);
  }

  /** This configuration with one key changed; see {@link Settings#with}. */
  public SftConfig with(String key, Object value) {
    return from(settings.with(key, value));
  }
}
