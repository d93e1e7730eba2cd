package org.rlhf4j.nn;

import java.util.List;

/**
 * Linear layers of one decoder layer that share their input.
 *
 * @param names full names, without ".weight"
 * @param in columns of each matrix
 * @param out rows of each matrix
 */
record LinearGroup(List<String> names, long in, long[] out, boolean bias) {
  List<String> weights() {
    return names.stream().map(n -> n + ".weight").toList();
  }

  /** Empty without a bias. */
  List<String> biases() {
    return bias ? names.stream().map(n -> n + ".bias").toList() : List.of();
  }
}
