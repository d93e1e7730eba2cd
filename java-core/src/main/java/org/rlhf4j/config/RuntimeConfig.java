package org.rlhf4j.config;

import java.util.Locale;
import org.rlhf4j.checkpoint.Quantization;

/**
 * Where and in which numbers a run computes.
 *
 * @param device {@code cpu}, {@code cuda}, {@code cuda:N} or {@code auto}
 * @param threads of the CPU; 0: all cores
 * @param precision storage of weights and activations
 * @param quantization storage of the frozen base's matrices
 */
public record RuntimeConfig(
    String device, int threads, Precision precision, Quantization quantization) {
  /** AUTO: what the device is best at. */
  public enum Precision {
    F32,
    BF16,
    AUTO
  }

  static RuntimeConfig from(Settings s) {
    return new RuntimeConfig(
        s.text("device"),
        s.integer("threads"),
        Precision.valueOf(s.text("dtype").toUpperCase(Locale.ROOT)),
        Quantization.parse(s.text("quantization")));
  }
}
