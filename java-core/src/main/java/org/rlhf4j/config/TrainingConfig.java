package org.rlhf4j.config;

/**
 * What every trainer needs to know.
 *
 * @param learningRate at the end of the warm-up
 * @param lrSchedulerType after the warm-up: constant, linear (to 0 at the last step) or cosine (to
 *     0)
 * @param warmupSteps optimizer steps (PPO: batches) of linear warm-up
 * @param batchSize rows of one forward and backward pass (PPO: queries of a rollout)
 * @param gradientAccumulationSteps batches (PPO: minibatches) of one optimizer step
 * @param numTrainEpochs passes over the data, not necessarily whole
 * @param maxSteps optimizer steps (PPO: batches), or -1: by numTrainEpochs
 * @param maxGradNorm gradients are scaled to at most this norm; 0: no clipping
 * @param beta1 of AdamW
 * @param beta2 of AdamW
 * @param eps of AdamW
 * @param weightDecay of AdamW, decoupled
 * @param shuffle false: batches and minibatches in the order of the file
 * @param seed of everything random
 * @param gradientCheckpointing whether activations are computed again in the backward pass
 * @param maxLength longest sequence in tokens; 0: the model's limit
 * @param skipBadLines whether bad lines of data are counted and left out
 * @param loggingSteps steps between lines of metrics
 * @param saveSteps steps between checkpoints; 0: only when interrupted
 * @param saveTotalLimit checkpoints kept; 0: all
 */
public record TrainingConfig(
    double learningRate,
    String lrSchedulerType,
    int warmupSteps,
    int batchSize,
    int gradientAccumulationSteps,
    double numTrainEpochs,
    int maxSteps,
    double maxGradNorm,
    double beta1,
    double beta2,
    double eps,
    double weightDecay,
    boolean shuffle,
    long seed,
    boolean gradientCheckpointing,
    int maxLength,
    boolean skipBadLines,
    int loggingSteps,
    int saveSteps,
    int saveTotalLimit) {

  static TrainingConfig from(Settings s) {
    return new TrainingConfig(
        s.number("learning_rate"),
        s.text("lr_scheduler_type"),
        s.integer("warmup_steps"),
        s.integer("batch_size"),
        s.integer("gradient_accumulation_steps"),
        s.number("num_train_epochs"),
        s.integer("max_steps"),
        s.number("max_grad_norm"),
        s.number("optim.beta1"),
        s.number("optim.beta2"),
        s.number("optim.eps"),
        s.number("optim.weight_decay"),
        s.flag("shuffle"),
        s.whole("seed"),
        s.flag("gradient_checkpointing"),
        s.integer("max_length"),
        s.flag("skip_bad_lines"),
        s.integer("logging_steps"),
        s.integer("save_steps"),
        s.integer("save_total_limit"));
  }
}
