package org.rlhf4j.nn;

import java.util.List;

/**
 * Splits work that needs no gradient into passes whose activations stay small enough for the
 * caches.
 */
public final class Chunks {
  /** Tokens of one pass: past this, a larger product is no faster. */
  private static final int TOKENS = 2048;

  private Chunks() {}

  /** The end of the run of sequences from {@code from} that fits one pass; at least one. */
  public static int end(List<int[]> sequences, int from) {
    int tokens = sequences.get(from).length;
    int to = from + 1;
    while (to < sequences.size() && tokens + sequences.get(to).length <= TOKENS) {
      tokens += sequences.get(to++).length;
    }
    return to;
  }
}
