package org.rlhf4j.checkpoint;

import java.util.Arrays;
import java.util.Collection;
import java.util.Locale;

/**
 * How the matrices of a frozen base are kept: as numbers, or in bitsandbytes' NF4 with scales that
 * are numbers ({@code nf4}) or quantised themselves ({@code nf4-double}).
 */
public enum Quantization {
  NONE,
  NF4,
  NF4_DOUBLE;

  /** As users write it: {@code none}, {@code nf4}, {@code nf4-double}. */
  public String text() {
    return name().toLowerCase(Locale.ROOT).replace('_', '-');
  }

  /** The value of that {@link #text}; anything else is an IllegalArgumentException. */
  public static Quantization of(String text) {
    return Arrays.stream(values())
        .filter(q -> q.text().equals(text))
        .findFirst()
        .orElseThrow(() -> new IllegalArgumentException(text));
  }

  /** How stored tensors are quantised: NONE unless a matrix in NF4 is among them. */
  static Quantization of(Collection<StoredTensor> tensors) {
    return tensors.stream()
        .filter(Nf4Tensor.class::isInstance)
        .findFirst()
        .map(t -> ((Nf4Tensor) t).scales().isNested() ? NF4_DOUBLE : NF4)
        .orElse(NONE);
  }
}
