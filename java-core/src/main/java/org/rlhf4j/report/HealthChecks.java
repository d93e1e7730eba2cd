package org.rlhf4j.report;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.function.IntFunction;
import org.rlhf4j.config.Command;
import org.rlhf4j.config.Settings;

/**
 * What the metrics of a run say about its health, in words. Pure functions: the same history gives
 * the same findings, live and in the report.
 *
 * <p>A history is the lines of metrics.jsonl, oldest first. Checks look at means over several
 * lines, since single batches of PPO are small; the bounds are rules of thumb, chosen to stay
 * silent on healthy runs.
 */
public final class HealthChecks {
  /** No check looks further back than this many lines, beside the first ten of the run. */
  static final int WINDOW = 60;

  private final List<? extends Map<String, ?>> history;
  private final Settings settings;
  private final List<Finding> findings = new ArrayList<>();

  private HealthChecks(List<? extends Map<String, ?>> history, Settings settings) {
    this.history = history;
    this.settings = settings;
  }

  /** What is wrong at the end of {@code history}; empty where nothing is. */
  public static List<Finding> of(List<? extends Map<String, ?>> history, Settings settings) {
    HealthChecks checks = new HealthChecks(history, settings);
    if (!history.isEmpty()) {
      checks.common();
      switch (settings.command()) {
        case SFT -> {}
        case REWARD -> checks.reward();
        case PPO -> checks.ppo();
      }
    }
    return List.copyOf(checks.findings);
  }

  /** What is wrong with the configuration before anything has run. */
  public static List<Finding> of(Settings settings) {
    return settings.warnings().stream().map(w -> new Finding("configuration", w)).toList();
  }

  /**
   * What is wrong with preference pairs.
   *
   * @param pairs how many there are
   * @param chosen ids of pair i
   * @param rejected ids of pair i
   * @param maxLength tokens kept of a sequence; 0: all
   */
  public static List<Finding> ofPairs(
      int pairs, IntFunction<int[]> chosen, IntFunction<int[]> rejected, int maxLength) {
    int equal = 0;
    int cut = 0;
    for (int i = 0; i < pairs; i++) {
      int[] a = chosen.apply(i);
      int[] b = rejected.apply(i);
      int difference = Arrays.mismatch(a, b);
      if (maxLength > 0
          && Math.min(a.length, b.length) >= maxLength
          && (difference < 0 || difference >= maxLength)) {
        cut++;
      } else if (difference < 0) {
        equal++;
      }
    }
    List<Finding> found = new ArrayList<>();
    if (equal > 0) {
      found.add(
          new Finding(
              "pairs-equal",
              equal
                  + " of "
                  + pairs
                  + " pairs have the same text as chosen and rejected: nothing can be"
                  + " learned from them."));
    }
    if (cut > 0) {
      found.add(
          new Finding(
              "pairs-cut",
              cut
                  + " of "
                  + pairs
                  + " pairs are the same up to max_length ("
                  + maxLength
                  + " tokens): what tells chosen from rejected is cut off. Raise max_length."));
    }
    return found;
  }

  private void common() {
    history
        .getLast()
        .forEach(
            (name, value) -> {
              boolean broken = value instanceof Number n && !Double.isFinite(n.doubleValue());
              // metrics.jsonl has null for what is not a number.
              if (broken || value == null) {
                find(
                    "not-a-number",
                    "%s is not a finite number: the run has diverged. Lower learning_rate, or check"
                        + " the data.",
                    name);
              }
            });
    Series norm = series("grad_norm").last(10);
    if (norm.max() == 0) {
      find("no-gradient", "The gradient has been 0 for 10 steps: nothing is learned.");
    }
    if (settings.command() != Command.PPO) {
      Series loss = series("loss");
      double recent = loss.last(10).mean();
      double before = loss.before(10).last(10).mean();
      if (recent > 1.5 * before && recent > before + 0.3) {
        find(
            "loss-rising",
            "The loss rises (%.3f over the last 10 steps, %.3f over the 10 before): the learning"
                + " rate may be too high.",
            recent,
            before);
      }
    }
  }

  private void reward() {
    double accuracy = series("accuracy").last(30).mean();
    if (series("accuracy").size() >= 50 && accuracy < 0.45) {
      find(
          "accuracy-low",
          "Accuracy is %.2f over the last 30 steps, worse than chance: chosen and rejected may be"
              + " swapped.",
          accuracy);
    }
    if (series("margin").last(30).max() == 0 && series("margin").last(30).min() == 0) {
      find(
          "reward-constant",
          "Chosen and rejected get the same score, always: the model tells nothing apart.");
    }
  }

  private void ppo() {
    kl();
    update();
    policy();
    responses();
    scores();
  }

  private void kl() {
    Series kl = series("objective/kl");
    double recent = kl.last(5).mean();
    if (recent < -0.1 || kl.last(1).mean() < -2) {
      find(
          "kl-negative",
          "The KL estimate is below 0 (%.3f): a true KL cannot be. Usual reasons: sampling with"
              + " top_k, top_p or min_new_tokens, or old log-probabilities of another policy.",
          kl.last(1).mean() < -2 ? kl.last(1).mean() : recent);
    }
    double now = kl.last(3).mean();
    double before = kl.before(3).last(10).mean();
    if (now > 50 || now > 10 && now > 4 * before) {
      find(
          "kl-exploding",
          "The KL to the reference explodes (%.1f nats a response): the policy leaves what the"
              + " reward model can judge. Raise init_kl_coef, or lower learning_rate.",
          now);
    }
  }

  private void update() {
    double ratio = series("ppo/policy/first_ratio_mean").last(1).mean();
    if (Math.abs(ratio - 1) > 0.02 && !setting("dropout_in_update").equals(true)) {
      find(
          "first-ratio",
          "Before the first update of a batch the ratio is %.3f, not 1: old and new"
              + " log-probabilities are not computed alike (temperature, dropout, or recorded"
              + " rollouts of another policy).",
          ratio);
    }
    Series clipped = series("ppo/policy/clipfrac");
    double fraction = clipped.last(10).mean();
    if (fraction > 0.3) {
      find(
          "clipfrac-high",
          "%.0f%% of the tokens are clipped: updates are too large. Lower learning_rate or"
              + " ppo_epochs.",
          100 * fraction);
    }
    if (clipped.last(40).max() < 1e-4 && !setting("ppo_epochs").equals(1)) {
      find(
          "clipfrac-zero",
          "No token has been clipped for 40 batches: the policy hardly moves. learning_rate may be"
              + " too low.");
    }
    double explained = series("ppo/val/explained_variance").last(20).mean();
    if (series("ppo/val/explained_variance").size() >= 40 && explained < 0) {
      find(
          "explained-variance",
          "The value head explains less than a constant would (explained variance %.2f over 20"
              + " batches): its advantages are noise. Try a higher vf_coef, value_warmup_steps, or"
              + " larger batches.",
          explained);
    }
    double skipped = series("ppo/skipped_minibatches").last(10).sum();
    if (skipped > 0) {
      find(
          "skipped",
          "%.0f minibatches of the last 10 batches were skipped, since their mean ratio exceeded"
              + " ratio_threshold: updates are too large.",
          skipped);
    }
  }

  private void policy() {
    Series entropy = series("objective/entropy");
    double start = entropy.first(5).mean();
    double recent = entropy.last(5).mean();
    if (entropy.size() >= 10 && start > 0.1 && recent < 0.1 * start) {
      find(
          "entropy-collapse",
          "The entropy has collapsed (%.3f nats a token, %.3f at the start): the policy says nearly"
              + " always the same. Raise init_kl_coef, or lower learning_rate.",
          recent,
          start);
    }
  }

  private void responses() {
    Series length = series("tokens/responses_len_mean");
    double eos = series("val/num_eos_tokens").last(10).sum();
    if (eos == 0) {
      find(
          "no-eos",
          "No response of the last 10 batches has ended by itself: max_new_tokens may be too small,"
              + " or the model was never taught to stop. missing_eos_penalty helps.");
    }
    double tokens = length.last(10).mean();
    if (eos > 0 && tokens < 1.5) {
      find(
          "eos-at-once",
          "Responses end at once (%.1f tokens over the last 10 batches): the reward may favour"
              + " empty answers; look at the rollouts.",
          tokens);
    }
  }

  private void scores() {
    Series scores = series("objective/scores");
    Series recent = scores.last(10);
    if (recent.max() - recent.min() < 1e-6) {
      find(
          "reward-constant",
          "The score has been %.4f for 10 batches: the reward tells no response from another.",
          recent.mean());
    }
    Series length = series("tokens/responses_len_mean").last(30);
    double early = length.first(10).mean();
    double late = length.last(10).mean();
    boolean moved = Math.abs(late - early) > 0.3 * early;
    double correlation = scores.last(30).correlation(length);
    if (moved && Math.abs(correlation) > 0.8) {
      find(
          "length-drift",
          "The responses' length drifts with the score (%.1f to %.1f tokens over 30 batches,"
              + " correlation %.2f): the reward model may be judging length. A sign of reward"
              + " hacking; look at the rollouts.",
          early,
          late,
          correlation);
    }
  }

  private Series series(String metric) {
    return Series.of(history, metric);
  }

  private Object setting(String key) {
    Object value = settings.flat().get(key);
    return value == null ? "" : value;
  }

  private void find(String code, String format, Object... arguments) {
    findings.add(new Finding(code, String.format(Locale.ROOT, format, arguments)));
  }
}
