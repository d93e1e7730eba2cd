package org.rlhf4j.config;

import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import org.rlhf4j.checkpoint.Quantization;

/**
 * What single keys cannot say: rules between keys, and combinations that are allowed but do harm.
 */
final class Checks {
  private final Settings s;
  private final List<String> warnings = new ArrayList<>();

  private Checks(Settings settings) {
    s = settings;
  }

  /**
   * The warnings about {@code settings}.
   *
   * @throws org.rlhf4j.InputException if keys contradict each other
   */
  static List<String> check(Settings settings) {
    Checks checks = new Checks(settings);
    checks.common();
    switch (settings.command()) {
      case SFT -> checks.sft();
      case REWARD -> {}
      case PPO -> checks.ppo();
    }
    return checks.warnings;
  }

  private void common() {
    // emulated: the CUDA backend's host code without a GPU, in builds with the tests.
    if (!s.text("device").matches("cpu|cuda(:[0-9]{1,3})?|emulated(-checked)?|auto")) {
      throw s.problem("device", "expected cpu|cuda[:N]|auto, found '" + s.text("device") + "'");
    }
    if (s.integer("max_steps") == 0) {
      throw s.problem("max_steps", "expected -1 or a whole number >= 1, found '0'");
    }
    if (s.number("learning_rate") == 0) {
      warn("learning_rate", "0: nothing will be learned");
    }
    if (s.integer("max_steps") > 0 && s.integer("warmup_steps") >= s.integer("max_steps")) {
      warn("warmup_steps", "the run ends (max_steps) before the learning rate reaches its peak");
    }
  }

  private void sft() {
    if (s.text("training").equals("lora")) {
      return;
    }
    if (Quantization.parse(s.text("quantization")).isNf4()) {
      throw s.problem(
          "quantization",
          s.text("quantization")
              + " is for a frozen base, and training: full trains its matrices; expected none, or"
              + " training: lora");
    }
    if (s.number("learning_rate") > 1e-4) {
      warn(
          "learning_rate",
          s.number("learning_rate") + " is meant for adapters; with training: full, 2e-5 is usual");
    }
    for (String key : s.flat().keySet()) {
      if (key.startsWith("lora.") && differsFromDefault(key)) {
        warn(key, "has no effect with training: full");
      }
    }
  }

  private void ppo() {
    int step = s.integer("mini_batch_size") * s.integer("gradient_accumulation_steps");
    int batch = s.integer("batch_size");
    if (s.integer("mini_batch_size") > batch) {
      throw s.problem(
          "mini_batch_size", s.integer("mini_batch_size") + " is more than batch_size " + batch);
    }
    if (step > batch) {
      throw s.problem(
          "gradient_accumulation_steps",
          "mini_batch_size times gradient_accumulation_steps is "
              + step
              + ", more than batch_size "
              + batch);
    }
    if (batch % step != 0) {
      warn(
          "batch_size",
          batch
              + " is not a multiple of "
              + step
              + ", the rows of an optimizer step: the last step of a pass is smaller");
    }
    if (s.integer("min_new_tokens") > s.integer("max_new_tokens")) {
      throw s.problem(
          "min_new_tokens",
          s.integer("min_new_tokens")
              + " is more than max_new_tokens "
              + s.integer("max_new_tokens"));
    }
    if (s.integer("max_length") > 0 && s.integer("max_length") <= s.integer("max_new_tokens")) {
      throw s.problem(
          "max_length",
          s.integer("max_length")
              + " leaves no room for a query: max_new_tokens is "
              + s.integer("max_new_tokens"));
    }
    if (s.number("dual_clip") > 0 && s.number("dual_clip") <= 1) {
      throw s.problem(
          "dual_clip", "expected 0 (none) or a number > 1, found '" + s.number("dual_clip") + "'");
    }
    estimator();
    unused("target_kl", "early_stopping");
    unused("target", "adap_kl_ctrl");
    unused("horizon", "adap_kl_ctrl");
  }

  private void estimator() {
    if (s.number("temperature") != 1) {
      warn(
          "temperature",
          s.number("temperature")
              + ": probabilities, ratio and KL are those of the distribution at this "
              + "temperature; 1 is usual for PPO");
    }
    if (s.integer("top_k") > 0) {
      warn("top_k", s.integer("top_k") + CUT);
    }
    if (s.number("top_p") < 1) {
      warn("top_p", s.number("top_p") + CUT);
    }
    if (s.integer("min_new_tokens") > 0) {
      warn("min_new_tokens", s.integer("min_new_tokens") + CUT);
    }
  }

  private static final String CUT =
      ": sampling does not cover the whole distribution, so the KL estimate is biased and can fall"
          + " below 0";

  private void unused(String key, String needed) {
    if (differsFromDefault(key) && !s.flag(needed)) {
      warn(key, "has no effect without " + needed);
    }
  }

  private boolean differsFromDefault(String key) {
    Object byDefault = Keys.find(key).orElseThrow().defaults().get(s.command());
    return !Objects.equals(s.value(key), byDefault);
  }

  private void warn(String key, String text) {
    warnings.add(s.where(key) + ": " + text);
  }
}
