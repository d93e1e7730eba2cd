package org.rlhf4j.checkpoint;

import java.util.Arrays;
import java.util.Collection;
import java.util.Locale;
import java.util.stream.Collectors;
import org.rlhf4j.InputException;

/** How the matrices of a frozen base's layers are kept. */
public enum Quantization {
  /** As they are stored. */
  AUTO,
  /** As numbers: what is stored in another way is dequantised. */
  NONE,
  /** bitsandbytes' NF4. */
  NF4,
  /** NF4 whose scales are quantised too. */
  NF4_DOUBLE;

  /** As users write it: {@code auto}, {@code none}, {@code nf4}, {@code nf4-double}. */
  public String text() {
    return name().toLowerCase(Locale.ROOT).replace('_', '-');
  }

  /** The value of that {@link #text}; anything else is an InputException. */
  public static Quantization parse(String text) {
    return Arrays.stream(values())
        .filter(q -> q.text().equals(text))
        .findFirst()
        .orElseThrow(
            () ->
                new InputException(
                    "quantization '"
                        + text
                        + "': expected one of "
                        + Arrays.stream(values())
                            .map(Quantization::text)
                            .collect(Collectors.joining(", "))));
  }

  /** Whether matrices are quantised whatever they are stored as. */
  public boolean isNf4() {
    return this == NF4 || this == NF4_DOUBLE;
  }

  /** Whether scales are quantised too. */
  public boolean isNested() {
    return this == NF4_DOUBLE;
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
