package org.rlhf4j.tokenizer;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.function.IntPredicate;

/**
 * The merges of a SentencePiece BPE model, which knows pieces and their scores only: it joins the
 * two neighbours whose union has the best score. A list of merges says the same: every way to part
 * a piece in two pieces, the best pieces first.
 */
final class SentencePieceMerges {
  private SentencePieceMerges() {}

  /** Two pieces to join, by their ids, and the id of what they make. */
  record Merge(int left, int right, int whole) {}

  /**
   * The merges in the order in which they are tried; of the ways to make one piece, and of pieces
   * with equal scores, those with earlier ids first.
   *
   * @param ordinary tells by the id which pieces may be joined and made; control, byte and unknown
   *     tokens may not
   */
  static List<Merge> of(String[] tokens, float[] scores, IntPredicate ordinary) {
    Map<String, Integer> ids = new HashMap<>(2 * tokens.length);
    for (int id = 0; id < tokens.length; id++) {
      if (ordinary.test(id)) {
        ids.putIfAbsent(tokens[id], id);
      }
    }
    List<Merge> merges = new ArrayList<>();
    ids.forEach(
        (piece, whole) -> {
          for (int cut = 1; cut < piece.length(); cut++) {
            if (Character.isLowSurrogate(piece.charAt(cut))) {
              continue;
            }
            Integer left = ids.get(piece.substring(0, cut));
            Integer right = left == null ? null : ids.get(piece.substring(cut));
            if (right != null) {
              merges.add(new Merge(left, right, whole));
            }
          }
        });
    merges.sort(
        Comparator.comparingDouble((Merge m) -> -scores[m.whole])
            .thenComparingInt(Merge::whole)
            .thenComparingInt(Merge::left)
            .thenComparingInt(Merge::right));
    return merges;
  }
}
