package org.rlhf4j.config;

import static org.rlhf4j.config.Command.PPO;
import static org.rlhf4j.config.Command.REWARD;
import static org.rlhf4j.config.Command.SFT;
import static org.rlhf4j.config.ValueType.CHOICE;
import static org.rlhf4j.config.ValueType.FLAG;
import static org.rlhf4j.config.ValueType.INTEGER;
import static org.rlhf4j.config.ValueType.LONG;
import static org.rlhf4j.config.ValueType.NAMES;
import static org.rlhf4j.config.ValueType.NAMES_OR_REGEX;
import static org.rlhf4j.config.ValueType.NUMBER;
import static org.rlhf4j.config.ValueType.NUMBERS;
import static org.rlhf4j.config.ValueType.PATHS;
import static org.rlhf4j.config.ValueType.TEXT;

import java.util.List;
import java.util.Map;
import java.util.Optional;

/** Every configuration key, in the order in which config.yaml and --help show them. */
public final class Keys {
  private Keys() {}

  /** The table. Names are TRL's and PEFT's where they have one. */
  public static final List<Key> ALL =
      List.of(
          // Files
          Key.of(
                  "model",
                  TEXT,
                  "base model: Hugging Face folder, GGUF file, or org/name[@revision]")
              .optional(),
          Key.of(
                  "data",
                  PATHS,
                  "training data: .jsonl, .json, .csv, .tsv, .parquet; a folder, a glob, or a list")
              .optional(),
          Key.of("data_split", TEXT, "of a folder or glob only the files of this split: train, …")
              .optional(),
          Key.of("eval_data", TEXT, "data for evaluation, in the form of data").optional(),
          Key.of("out", TEXT, "the run folder").optional(),
          Key.of("adapter", TEXT, "adapter to start from: a folder, or org/name[@revision]")
              .optional(),
          Key.of(
                  "reward_adapter",
                  TEXT,
                  "adapter of the reward model: a folder, or org/name[@revision]")
              .optional(PPO),
          Key.of("replay", TEXT, "recorded rollouts to use in place of sampling").optional(PPO),
          Key.of("resume", FLAG, "continue the interrupted run in the run folder").orElse(false),
          // Machine and numerics
          Key.of("device", TEXT, "cpu|cuda[:N]|auto").orElse("auto"),
          Key.of("threads", INTEGER, "CPU threads; 0: all cores").orElse(0).atLeast(0),
          Key.of("dtype", CHOICE, "storage of weights and activations")
              .orElse("auto")
              .oneOf("f32", "bf16", "auto"),
          Key.of(
                  "quantization",
                  CHOICE,
                  "storage of the frozen base's matrices; auto: as the model has them")
              .orElse("auto")
              .oneOf("auto", "none", "nf4", "nf4-double"),
          Key.of("gradient_checkpointing", FLAG, "recompute activations in the backward pass")
              .orElse(false),
          Key.of("seed", LONG, "of dropout, sampling, shuffling and initial weights").orElse(42L),
          // Data
          Key.of("max_length", INTEGER, "longest sequence, in tokens; 0: the model's limit")
              .orElse(1024, SFT, REWARD)
              .orElse(0, PPO)
              .atLeast(0),
          Key.of(
                  "max_prompt_length",
                  INTEGER,
                  "longest query, in tokens; 0: what max_length leaves")
              .orElse(0, PPO)
              .atLeast(0),
          Key.of("overlong", CHOICE, "what happens to rows longer than that")
              .orElse("truncate", SFT, PPO)
              .orElse("filter", REWARD)
              .oneOf("truncate", "filter"),
          Key.of("append_eos", FLAG, "end each completion with EOS")
              .orElse(true, SFT)
              .orElse(false, REWARD),
          Key.of("shuffle", FLAG, "false: batches and minibatches in the order of the file")
              .orElse(true),
          Key.of("skip_bad_lines", FLAG, "count bad lines and go on").orElse(false),
          Key.of("query_template", CHOICE, "how a query or question becomes a prompt")
              .orElse("plain", REWARD, PPO)
              .oneOf("plain", "chat"),
          Key.of("margin_from_scores", FLAG, "a pair's margin is score_chosen - score_rejected")
              .orElse(false, REWARD),
          column("messages", SFT, PPO),
          column("prompt", SFT, REWARD, PPO),
          column("completion", SFT),
          column("text", SFT),
          column("instruction", SFT),
          column("input", SFT),
          column("output", SFT),
          column("question", REWARD),
          column("chosen", REWARD),
          column("rejected", REWARD),
          column("margin", REWARD),
          column("score_chosen", REWARD),
          column("score_rejected", REWARD),
          column("query", PPO),
          column("tools", SFT, REWARD, PPO),
          // Optimisation
          Key.of("training", CHOICE, "what is trained: an adapter, or all weights")
              .orElse("lora", SFT)
              .oneOf("lora", "full"),
          Key.of("learning_rate", NUMBER, "peak learning rate")
              .orElse(2e-4, SFT)
              .orElse(1e-4, REWARD)
              .orElse(1.41e-5, PPO)
              .atLeast(0),
          Key.of("lr_scheduler_type", CHOICE, "after the warm-up")
              .orElse("linear", SFT, REWARD)
              .orElse("constant", PPO)
              .oneOf("constant", "linear", "cosine"),
          Key.of("warmup_steps", INTEGER, "optimizer steps (ppo: batches) of linear warm-up")
              .orElse(0)
              .atLeast(0),
          Key.of("batch_size", INTEGER, "rows of a batch (ppo: queries of a rollout)")
              .orElse(8, SFT, REWARD)
              .orElse(2, PPO)
              .atLeast(1),
          Key.of("mini_batch_size", INTEGER, "responses of a minibatch").orElse(1, PPO).atLeast(1),
          Key.of(
                  "gradient_accumulation_steps",
                  INTEGER,
                  "batches (ppo: minibatches) of one optimizer step")
              .orElse(1)
              .atLeast(1),
          Key.of("num_train_epochs", NUMBER, "passes over the data")
              .orElse(3.0, SFT)
              .orElse(1.0, REWARD, PPO)
              .moreThan(0),
          Key.of("max_steps", INTEGER, "optimizer steps (ppo: batches); -1: by num_train_epochs")
              .orElse(-1)
              .atLeast(-1),
          Key.of(
                  "max_grad_norm",
                  NUMBER,
                  "gradients are scaled to at most this norm; 0: no clipping")
              .orElse(1.0)
              .atLeast(0)
              .noneIsZero(),
          Key.of("optim.beta1", NUMBER, "AdamW").orElse(0.9).fromBelow(0, 1),
          Key.of("optim.beta2", NUMBER, "AdamW").orElse(0.999).fromBelow(0, 1),
          Key.of("optim.eps", NUMBER, "AdamW").orElse(1e-8).moreThan(0),
          Key.of("optim.weight_decay", NUMBER, "AdamW, decoupled").orElse(0.0).atLeast(0),
          // Adapter
          Key.of("lora.r", INTEGER, "rank").orElse(8).from(1, 4096),
          Key.of("lora.alpha", NUMBER, "scale is alpha / r").orElse(16.0).moreThan(0),
          Key.of("lora.dropout", NUMBER, "on the adapter's input").orElse(0.05).fromBelow(0, 1),
          Key.of("lora.use_rslora", FLAG, "scale is alpha / sqrt(r)").orElse(false),
          Key.of(
                  "lora.target_modules",
                  NAMES_OR_REGEX,
                  "modules with an adapter: names, ends of names, a regular expression, or"
                      + " all-linear")
              .orElse(List.of("all-linear")),
          Key.of("lora.exclude_modules", NAMES_OR_REGEX, "modules without one, in the same forms")
              .optional(),
          Key.of("lora.rank_pattern", NUMBERS, "ranks of single modules, by name or expression")
              .optional(),
          Key.of("lora.alpha_pattern", NUMBERS, "alphas of single modules, by name or expression")
              .optional(),
          Key.of("lora.modules_to_save", NAMES, "heads trained whole: score (reward), v_head (ppo)")
              .optional(),
          // Reward model
          Key.of(
                  "center_rewards_coefficient",
                  NUMBER,
                  "weight of (chosen + rejected)^2 in the loss")
              .orElse(0.0, REWARD)
              .atLeast(0)
              .noneIsZero(),
          // PPO: generation
          Key.of("max_new_tokens", INTEGER, "longest response, in tokens")
              .orElse(32, PPO)
              .atLeast(1),
          Key.of("min_new_tokens", INTEGER, "shortest response, in tokens")
              .orElse(0, PPO)
              .atLeast(0),
          Key.of("temperature", NUMBER, "of sampling").orElse(1.0, PPO).moreThan(0),
          Key.of("top_k", INTEGER, "sample among the k likeliest tokens; 0: all")
              .orElse(0, PPO)
              .atLeast(0)
              .noneIsZero(),
          Key.of("top_p", NUMBER, "sample among the likeliest tokens of this mass; 1: all")
              .orElse(1.0, PPO)
              .above(0, 1),
          // PPO: reward
          Key.of(
                  "reference",
                  CHOICE,
                  "what the KL is taken against: the adapter as it was at the start, or the bare base;"
                      + " auto: the adapter if it comes from SFT, the base if it has a value head")
              .orElse("auto", PPO)
              .oneOf("auto", "adapter", "base"),
          Key.of("init_kl_coef", NUMBER, "weight of the KL penalty").orElse(0.2, PPO).atLeast(0),
          Key.of("kl_penalty", CHOICE, "estimator of the KL penalty")
              .orElse("kl", PPO)
              .oneOf("kl", "abs", "mse", "k3", "full"),
          Key.of("adap_kl_ctrl", FLAG, "steer init_kl_coef so that the KL nears target")
              .orElse(false, PPO),
          Key.of("target", NUMBER, "KL of a sequence, in nats, for adap_kl_ctrl")
              .orElse(6.0, PPO)
              .moreThan(0),
          Key.of("horizon", NUMBER, "sequences over which adap_kl_ctrl acts")
              .orElse(10000.0, PPO)
              .moreThan(0),
          Key.of("score_clip", NUMBER, "scores are clipped to ± this; 0: not")
              .orElse(0.0, PPO)
              .atLeast(0)
              .noneIsZero(),
          Key.of("use_score_scaling", FLAG, "divide scores by their running standard deviation")
              .orElse(false, PPO),
          Key.of("use_score_norm", FLAG, "subtract their running mean too, and divide")
              .orElse(false, PPO),
          Key.of(
                  "missing_eos_penalty",
                  NUMBER,
                  "taken off the score of a response without EOS; 0: none")
              .orElse(0.0, PPO)
              .atLeast(0)
              .noneIsZero(),
          Key.of("whiten_rewards", FLAG, "whiten token rewards, keeping their mean")
              .orElse(false, PPO),
          Key.of("whiten_advantages", FLAG, "whiten advantages over the batch").orElse(true, PPO),
          Key.of("gamma", NUMBER, "discount").orElse(1.0, PPO).from(0, 1),
          Key.of("lam", NUMBER, "lambda of GAE").orElse(0.95, PPO).from(0, 1),
          // PPO: update
          Key.of("ppo_epochs", INTEGER, "passes over a batch").orElse(3, PPO).atLeast(1),
          Key.of("cliprange", NUMBER, "epsilon of the policy's ratio").orElse(0.2, PPO).moreThan(0),
          Key.of("cliprange_value", NUMBER, "epsilon of the value").orElse(0.2, PPO).moreThan(0),
          Key.of("vf_coef", NUMBER, "weight of the value loss, which has a factor 0.5 of its own")
              .orElse(0.5, PPO)
              .atLeast(0),
          Key.of("early_stopping", FLAG, "end a batch's updates when the policy has moved too far")
              .orElse(false, PPO),
          Key.of("target_kl", NUMBER, "for early_stopping, in nats of a token")
              .orElse(1.0, PPO)
              .moreThan(0),
          Key.of(
                  "ratio_threshold",
                  NUMBER,
                  "skip a minibatch whose mean ratio exceeds it; 0: never")
              .orElse(10.0, PPO)
              .atLeast(0)
              .noneIsZero(),
          Key.of("log_ratio_clamp", NUMBER, "bound on the log-ratio; 0: none")
              .orElse(0.0, PPO)
              .atLeast(0)
              .noneIsZero(),
          Key.of("dual_clip", NUMBER, "bound on the loss of negative advantages, > 1; 0: none")
              .orElse(0.0, PPO)
              .atLeast(0)
              .noneIsZero(),
          Key.of("value_warmup_steps", INTEGER, "first batches that train the value head only")
              .orElse(0, PPO)
              .atLeast(0),
          Key.of("dropout_in_update", FLAG, "LoRA dropout in PPO's updates").orElse(false, PPO),
          // Output
          Key.of(
                  "num_sample_generations",
                  INTEGER,
                  "queries answered before and after, for the report")
              .orElse(4, PPO)
              .atLeast(0),
          Key.of("logging_steps", INTEGER, "steps between lines of metrics").orElse(1).atLeast(1),
          Key.of("save_steps", INTEGER, "steps between checkpoints; 0: only when interrupted")
              .orElse(0)
              .atLeast(0),
          Key.of("save_total_limit", INTEGER, "checkpoints kept; 0: all").orElse(2).atLeast(0));

  /**
   * Names that other tools use, or that have moved, to what they are called here. For error
   * messages only.
   */
  static final Map<String, String> ELSEWHERE =
      Map.ofEntries(
          Map.entry("per_device_train_batch_size", "batch_size"),
          Map.entry("train_batch_size", "batch_size"),
          Map.entry("num_epochs", "num_train_epochs"),
          Map.entry("epochs", "num_train_epochs"),
          Map.entry("lr", "learning_rate"),
          Map.entry("num_ppo_epochs", "ppo_epochs"),
          Map.entry("kl_div", "kl_penalty"),
          Map.entry("kl_estimator", "kl_penalty"),
          Map.entry("kl_coef", "init_kl_coef"),
          Map.entry("response_length", "max_new_tokens"),
          Map.entry("adam_beta1", "optim.beta1"),
          Map.entry("adam_beta2", "optim.beta2"),
          Map.entry("adam_epsilon", "optim.eps"),
          Map.entry("weight_decay", "optim.weight_decay"),
          Map.entry("optim", "optim.beta1, optim.beta2, optim.eps, optim.weight_decay"),
          Map.entry("max_seq_length", "max_length"),
          Map.entry("max_seq_len", "max_length"),
          Map.entry("load_in_4bit", "quantization"),
          Map.entry("bf16", "dtype"),
          Map.entry("torch_dtype", "dtype"),
          Map.entry("output_dir", "out"),
          Map.entry("dataset", "data"),
          Map.entry("reward_model", "reward_adapter"),
          Map.entry("reward_model_path", "reward_adapter"),
          Map.entry("resume_from_checkpoint", "resume"),
          Map.entry("dataloader_shuffle", "shuffle"),
          Map.entry("target_modules", "lora.target_modules"),
          Map.entry("clip_range", "cliprange"),
          Map.entry("gae_lambda", "lam"));

  private static Key column(String field, Command... commands) {
    return Key.of("columns." + field, TEXT, "the data's column that is the " + field)
        .optional(commands);
  }

  /** The keys of {@code command}, in the table's order. */
  public static List<Key> of(Command command) {
    return ALL.stream().filter(k -> k.isFor(command)).toList();
  }

  /**
   * The key of that name, of any command; dashes, underscores and dots may stand for each other.
   */
  public static Optional<Key> find(String name) {
    String wanted = plain(name);
    return ALL.stream().filter(k -> plain(k.name()).equals(wanted)).findFirst();
  }

  /**
   * For --help: a line for each key of {@code command}, with its default, what may be written, and
   * its meaning.
   */
  public static String help(Command command) {
    StringBuilder text = new StringBuilder();
    for (Key key : of(command)) {
      Object value = key.defaults().get(command);
      String shown =
          value instanceof List<?> list ? join(list) : value == null ? "none" : value.toString();
      text.append(
          String.format(
              "  %-32s %s (%s; default %s)%n", key.flag(), key.help(), key.expected(), shown));
    }
    return text.toString();
  }

  private static String join(List<?> list) {
    return String.join(",", list.stream().map(String::valueOf).toList());
  }

  private static String plain(String name) {
    return name.replace('-', '_').replace('.', '_');
  }
}
