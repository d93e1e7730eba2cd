package org.rlhf4j.config;

import java.util.Locale;

/**
 * Where and in which numbers a run computes.
 *
 * @param device {@code cpu}, {@code cuda}, {@code cuda:N} or {@code auto}
 * @param threads of the CPU; 0: all cores
 * @param precision storage of weights and activations
 * @param quantization storage of the frozen base's matrices; this version has {@code NONE} only
 */
public record RuntimeConfig(
    String device, int threads, Precision precision, Quantization quantization) {
  /** AUTO: what the device is best at. */
  public enum Precision {
    F32,
    BF16,
    AUTO
  }

  /** NF4: blocks of 64; NF4_DOUBLE: with the block scales quantised too. */
  public enum Quantization {
    NONE,
    NF4,
    NF4_DOUBLE
  }

  static RuntimeConfig from(Settings s) {
    return new RuntimeConfig(
        s.text("device"),
        s.integer("threads"),
        Precision.valueOf(s.text("dtype").toUpperCase(Locale.ROOT)),
        Quantization.valueOf(s.text("quantization").toUpperCase(Locale.ROOT).replace('-', '_')));
  }
}
