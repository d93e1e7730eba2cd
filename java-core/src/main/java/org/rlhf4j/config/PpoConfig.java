package org.rlhf4j.config;

import java.util.Locale;
import java.util.OptionalDouble;

/**
 * Proximal policy optimisation.
 *
 * @param generation how responses are sampled
 * @param reward how token rewards come about
 * @param update how the policy and the value head learn from them
 * @param numSampleGenerations queries answered before and after training, for the report
 */
public record PpoConfig(
    RunPaths paths,
    RuntimeConfig runtime,
    TrainingConfig training,
    LoraPart lora,
    Generation generation,
    Reward reward,
    Update update,
    int numSampleGenerations,
    Settings settings)
    implements StageConfig {

  /** How a query becomes a prompt: its text as it is, or through the chat template. */
  public enum QueryTemplate {
    PLAIN,
    CHAT
  }

  /** Estimators of the KL penalty; see DESIGN, "The algorithms, exactly". */
  public enum KlPenalty {
    KL,
    ABS,
    MSE,
    K3,
    FULL
  }

  /**
   * How responses are sampled.
   *
   * @param maxNewTokens longest response, in tokens
   * @param minNewTokens shortest response, in tokens
   * @param temperature greater than 0
   * @param topK 0: all tokens
   * @param topP 1: all tokens
   */
  public record Generation(
      QueryTemplate queryTemplate,
      int maxNewTokens,
      int minNewTokens,
      double temperature,
      int topK,
      double topP) {}

  /**
   * How token rewards and advantages come about.
   *
   * @param initKlCoef weight of the KL penalty
   * @param adapKlCtrl whether that weight is steered so that the KL nears target
   * @param target KL of a sequence, in nats
   * @param horizon sequences over which the steering acts
   * @param scoreClip scores are clipped to ± this; 0: not
   * @param useScoreScaling whether scores are divided by their running standard deviation
   * @param useScoreNorm whether their running mean is subtracted too; implies the division
   * @param missingEosPenalty taken off the score of a response without EOS
   */
  public record Reward(
      double initKlCoef,
      KlPenalty klPenalty,
      boolean adapKlCtrl,
      double target,
      double horizon,
      double scoreClip,
      boolean useScoreScaling,
      boolean useScoreNorm,
      OptionalDouble missingEosPenalty,
      boolean whitenRewards,
      boolean whitenAdvantages,
      double gamma,
      double lam) {}

  /**
   * How a batch is learned from.
   *
   * @param ppoEpochs passes over a batch
   * @param cliprange epsilon of the policy's ratio
   * @param cliprangeValue epsilon of the value
   * @param vfCoef weight of the value loss, which has a factor 0.5 of its own
   * @param earlyStopping whether a batch's updates end when the policy has moved too far
   * @param targetKl for earlyStopping, in nats of a token
   * @param ratioThreshold a minibatch whose mean ratio exceeds it is skipped; 0: never
   * @param logRatioClamp bound on the log-ratio; 0: none
   * @param dualClip bound on the loss of negative advantages; 0: none
   * @param valueWarmupSteps first batches that train the value head only
   * @param dropoutInUpdate whether LoRA dropout acts in updates
   */
  public record Update(
      int ppoEpochs,
      double cliprange,
      double cliprangeValue,
      double vfCoef,
      boolean earlyStopping,
      double targetKl,
      double ratioThreshold,
      double logRatioClamp,
      double dualClip,
      int valueWarmupSteps,
      boolean dropoutInUpdate) {}

  public static PpoConfig defaults() {
    return from(Settings.defaults(Command.PPO));
  }

  public static PpoConfig from(Settings s) {
    return new PpoConfig(
        RunPaths.from(s),
        RuntimeConfig.from(s),
        TrainingConfig.from(s),
        LoraPart.from(s),
        generation(s),
        reward(s),
        update(s),
        s.integer("num_sample_generations"),
        s);
  }

  private static Generation generation(Settings s) {
    return new Generation(
        QueryTemplate.valueOf(s.text("query_template").toUpperCase(Locale.ROOT)),
        s.integer("max_new_tokens"),
        s.integer("min_new_tokens"),
        s.number("temperature"),
        s.integer("top_k"),
        s.number("top_p"));
  }

  private static Reward reward(Settings s) {
    Object penalty = s.value("missing_eos_penalty");
    return new Reward(
        s.number("init_kl_coef"),
        KlPenalty.valueOf(s.text("kl_penalty").toUpperCase(Locale.ROOT)),
        s.flag("adap_kl_ctrl"),
        s.number("target"),
        s.number("horizon"),
        s.number("score_clip"),
        s.flag("use_score_scaling"),
        s.flag("use_score_norm"),
        penalty == null ? OptionalDouble.empty() : OptionalDouble.of((Double) penalty),
        s.flag("whiten_rewards"),
        s.flag("whiten_advantages"),
        s.number("gamma"),
        s.number("lam"));
  }

  private static Update update(Settings s) {
    return new Update(
        s.integer("ppo_epochs"),
        s.number("cliprange"),
        s.number("cliprange_value"),
        s.number("vf_coef"),
        s.flag("early_stopping"),
        s.number("target_kl"),
        s.number("ratio_threshold"),
        s.number("log_ratio_clamp"),
        s.number("dual_clip"),
        s.integer("value_warmup_steps"),
        s.flag("dropout_in_update"));
  }

  /** This configuration with one key changed; see {@link Settings#with}. */
  public PpoConfig with(String key, Object value) {
    return from(settings.with(key, value));
  }
}
