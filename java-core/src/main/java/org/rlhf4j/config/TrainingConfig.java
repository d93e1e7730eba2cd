package org.rlhf4j.config;

import java.util.Locale;

/**
 * What every trainer needs to know.
 *
 * @param learningRate at the end of the warm-up
 * @param schedule of the learning rate after the warm-up
 * @param warmupSteps optimizer steps (PPO: batches) of linear warm-up
 * @param batchSize rows of a batch (PPO: queries of a rollout)
 * @param miniBatchSize rows of one forward and backward pass; SFT and reward: a matter of memory
 *     only; PPO: of the minibatch
 * @param gradientAccumulationSteps batches (PPO: minibatches) of one optimizer step
 * @param numTrainEpochs passes over the data
 * @param maxSteps optimizer steps (PPO: batches), or -1: by numTrainEpochs
 * @param maxGradNorm gradients are scaled to at most this norm; 0: no clipping
 * @param optim AdamW's constants
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
    Schedule schedule,
    int warmupSteps,
    int batchSize,
    int miniBatchSize,
    int gradientAccumulationSteps,
    int numTrainEpochs,
    int maxSteps,
    double maxGradNorm,
    Optim optim,
    boolean shuffle,
    long seed,
    boolean gradientCheckpointing,
    int maxLength,
    boolean skipBadLines,
    int loggingSteps,
    int saveSteps,
    int saveTotalLimit) {

  /** The learning rate after the warm-up: as it is, or down to 0 at the last step. */
  public enum Schedule {
    CONSTANT,
    LINEAR,
    COSINE
  }

  /** AdamW's constants; the weight decay is decoupled. */
  public record Optim(double beta1, double beta2, double eps, double weightDecay) {}

  static TrainingConfig from(Settings s) {
    Object part = s.value("mini_batch_size");
    return new TrainingConfig(
        s.number("learning_rate"),
        Schedule.valueOf(s.text("lr_scheduler_type").toUpperCase(Locale.ROOT)),
        s.integer("warmup_steps"),
        s.integer("batch_size"),
        part == null ? s.integer("batch_size") : (Integer) part,
        s.integer("gradient_accumulation_steps"),
        s.integer("num_train_epochs"),
        s.integer("max_steps"),
        s.number("max_grad_norm"),
        new Optim(
            s.number("optim.beta1"),
            s.number("optim.beta2"),
            s.number("optim.eps"),
            s.number("optim.weight_decay")),
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
