package org.rlhf4j.config;

/**
 * Proximal policy optimisation.
 *
 * @param miniBatchSize responses of a minibatch
 * @param queryTemplate how a query becomes a prompt: plain (its text as it is) or chat (through the
 *     chat template)
 * @param maxPromptLength longest query, in tokens; 0: what maxLength leaves
 * @param maxNewTokens longest response, in tokens
 * @param minNewTokens shortest response, in tokens
 * @param temperature of sampling, greater than 0; logits are divided by it wherever a probability
 *     is used
 * @param topK 0: all tokens
 * @param topP 1: all tokens
 * @param reference what the KL is taken against: auto, adapter or base
 * @param initKlCoef weight of the KL penalty
 * @param klPenalty estimator of the KL: kl, abs, mse, k3 or full; see DESIGN, "The algorithms,
 *     exactly"
 * @param adapKlCtrl whether the weight is steered so that the KL nears target
 * @param target KL of a sequence, in nats
 * @param horizon sequences over which the steering acts
 * @param scoreClip scores are clipped to ± this; 0: not
 * @param useScoreScaling whether scores are divided by their running standard deviation
 * @param useScoreNorm whether their running mean is subtracted too; implies useScoreScaling
 * @param missingEosPenalty taken off the score of a response without EOS; 0: none
 * @param whitenRewards over a batch's valid tokens, keeping their mean
 * @param whitenAdvantages over a batch's valid tokens
 * @param gamma discount
 * @param lam lambda of GAE
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
 * @param numSampleGenerations queries answered before and after training, for the report
 */
public record PpoConfig(
    RunPaths paths,
    RuntimeConfig runtime,
    TrainingConfig training,
    LoraPart lora,
    int miniBatchSize,
    String queryTemplate,
    int maxPromptLength,
    int maxNewTokens,
    int minNewTokens,
    double temperature,
    int topK,
    double topP,
    String reference,
    double initKlCoef,
    String klPenalty,
    boolean adapKlCtrl,
    double target,
    double horizon,
    double scoreClip,
    boolean useScoreScaling,
    boolean useScoreNorm,
    double missingEosPenalty,
    boolean whitenRewards,
    boolean whitenAdvantages,
    double gamma,
    double lam,
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
    boolean dropoutInUpdate,
    int numSampleGenerations,
    Settings settings)
    implements StageConfig {

  public static PpoConfig defaults() {
    return from(Settings.defaults(Command.PPO));
  }

  public static PpoConfig from(Settings s) {
    return new PpoConfig(
        RunPaths.from(s),
        RuntimeConfig.from(s),
        TrainingConfig.from(s),
        LoraPart.from(s),
        s.integer("mini_batch_size"),
        s.text("query_template"),
        s.integer("max_prompt_length"),
        s.integer("max_new_tokens"),
        s.integer("min_new_tokens"),
        s.number("temperature"),
        s.integer("top_k"),
        s.number("top_p"),
        s.text("reference"),
        s.number("init_kl_coef"),
        s.text("kl_penalty"),
        s.flag("adap_kl_ctrl"),
        s.number("target"),
        s.number("horizon"),
        s.number("score_clip"),
        s.flag("use_score_scaling") || s.flag("use_score_norm"),
        s.flag("use_score_norm"),
        s.number("missing_eos_penalty"),
        s.flag("whiten_rewards"),
        s.flag("whiten_advantages"),
        s.number("gamma"),
        s.number("lam"),
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
        s.flag("dropout_in_update"),
        s.integer("num_sample_generations"),
        s);
  }

  /** This configuration with one key changed; see {@link Settings#with}. */
  public PpoConfig with(String key, Object value) {
    return from(settings.with(key, value));
  }
}
