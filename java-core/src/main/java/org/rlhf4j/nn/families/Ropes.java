package org.rlhf4j.nn.families;

import java.util.function.IntToDoubleFunction;
import org.rlhf4j.nn.Rope;

/**
 * Reads rotary positions from a config.json: {@code rope_parameters}, or {@code rope_theta} with
 * {@code rope_scaling}. The formulas are those of the papers, with transformers' defaults.
 */
final class Ropes {
  private final ConfigJson config;
  private final ConfigJson scaling;
  private final double theta;
  private final int columns;

  private Ropes(ConfigJson config, ConfigJson scaling, double theta, int columns) {
    this.config = config;
    this.scaling = scaling;
    this.theta = theta;
    this.columns = columns;
  }

  /** The one kind of rotary positions of a model. */
  static Rope of(ConfigJson config, int headSize) {
    ConfigJson rope =
        config.object(config.has("rope_parameters") ? "rope_parameters" : "rope_scaling");
    return of(config, rope, config.number("rope_theta", 10000), headSize);
  }

  /**
   * @param rope the object that says how frequencies are stretched
   * @param theta the base, where {@code rope} does not name it
   */
  static Rope of(ConfigJson config, ConfigJson rope, double theta, int headSize) {
    double part = rope.number("partial_rotary_factor", config.number("partial_rotary_factor", 1));
    int columns = (int) (headSize * part);
    if (columns < 2 || columns > headSize || columns % 2 != 0) {
      throw config.problem(
          "partial_rotary_factor", "expected an even part of the head's " + headSize + " columns");
    }
    return new Ropes(config, rope, rope.number("rope_theta", theta), columns).read();
  }

  private Rope read() {
    String type = scaling.text("rope_type", scaling.text("type", "default"));
    return switch (scaling.has("short_factor") ? "longrope" : type) {
      case "default" -> Rope.plain(theta, columns);
      case "linear" -> {
        double factor = scaling.number("factor");
        yield divided(i -> factor);
      }
      case "factors" -> {
        double[] factors = factors("factors");
        yield divided(i -> factors[i]);
      }
      case "llama3" -> llama3();
      case "yarn" -> yarn();
      case "longrope" -> longrope();
      default ->
          throw scaling.problem(
              scaling.has("rope_type") ? "rope_type" : "type",
              "expected 'default', 'linear', 'llama3', 'yarn' or 'longrope'");
    };
  }

  private Rope divided(IntToDoubleFunction factor) {
    return divided(factor, 1, Integer.MAX_VALUE);
  }

  private Rope divided(IntToDoubleFunction factor, double attentionFactor, int limit) {
    double[] frequencies = Rope.plain(theta, columns).frequencies();
    for (int i = 0; i < frequencies.length; i++) {
      frequencies[i] /= factor.applyAsDouble(i);
    }
    return new Rope(frequencies, (float) attentionFactor, limit);
  }

  /** One factor per frequency. */
  private double[] factors(String key) {
    double[] factors = scaling.numbers(key);
    if (factors.length != columns / 2) {
      throw scaling.problem(key, "expected " + columns / 2 + " numbers");
    }
    return factors;
  }

  /**
   * Llama 3: low frequencies are divided by the factor, high ones stay, those between are blended.
   */
  private Rope llama3() {
    double factor = scaling.number("factor");
    double low = scaling.number("low_freq_factor");
    double high = scaling.number("high_freq_factor");
    double original = scaling.number("original_max_position_embeddings");
    double[] plain = Rope.plain(theta, columns).frequencies();
    return divided(
        i -> {
          double wave = 2 * Math.PI / plain[i];
          double smooth = (original / wave - low) / (high - low);
          double kept = Math.clamp(smooth, 0, 1);
          return 1 / ((1 - kept) / factor + kept);
        });
  }

  /**
   * YaRN (Peng et al. 2023): columns that turn often enough within the original context stay, those
   * that turn less than once are divided, with a ramp between.
   */
  private Rope yarn() {
    double factor = scaling.number("factor");
    double original =
        scaling.number(
            "original_max_position_embeddings", config.number("max_position_embeddings"));
    double low = turns(scaling.number("beta_fast", 32), original);
    double high = turns(scaling.number("beta_slow", 1), original);
    if (scaling.flag("truncate", true)) {
      low = Math.floor(low);
      high = Math.ceil(high);
    }
    double from = Math.max(low, 0);
    double to = Math.min(high, columns - 1);
    double width = to == from ? 0.001 : to - from;
    return divided(
        i -> {
          double kept = 1 - Math.clamp((i - from) / width, 0, 1);
          return 1 / ((1 - kept) / factor + kept);
        },
        yarnAttention(factor),
        Integer.MAX_VALUE);
  }

  /** The pair of columns that turns {@code count} times within the original context. */
  private double turns(double count, double original) {
    return columns * Math.log(original / (count * 2 * Math.PI)) / (2 * Math.log(theta));
  }

  private double yarnAttention(double factor) {
    if (scaling.has("attention_factor")) {
      return scaling.number("attention_factor");
    }
    double mscale = scaling.number("mscale", 0);
    double all = scaling.number("mscale_all_dim", 0);
    return mscale != 0 && all != 0
        ? yarnScale(factor, mscale) / yarnScale(factor, all)
        : yarnScale(factor, 1);
  }

  private static double yarnScale(double factor, double mscale) {
    return factor <= 1 ? 1 : 0.1 * mscale * Math.log(factor) + 1;
  }

  /**
   * LongRoPE (Ding et al. 2024) within the original context: the short factors. Beyond it, others
   * would hold for all tokens of a sequence, the first ones too, so it is where positions end.
   */
  private Rope longrope() {
    int longest = config.size("max_position_embeddings");
    int original =
        scaling.size(
            "original_max_position_embeddings",
            config.size("original_max_position_embeddings", longest));
    double factor = scaling.number("factor", (double) longest / original);
    double attention =
        scaling.number(
            "attention_factor",
            factor <= 1 ? 1 : Math.sqrt(1 + Math.log(factor) / Math.log(original)));
    double[] factors = factors("short_factor");
    boolean same = java.util.Arrays.equals(factors, factors("long_factor"));
    return divided(i -> factors[i], attention, same ? Integer.MAX_VALUE : original);
  }
}
