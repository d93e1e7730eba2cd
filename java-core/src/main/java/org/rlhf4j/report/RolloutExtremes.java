package org.rlhf4j.report;

import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.Deque;
import java.util.List;
import java.util.Map;
import java.util.PriorityQueue;

/**
 * Of any number of rollouts, the few that a report shows; memory does not grow with their number.
 */
final class RolloutExtremes {
  private static final Comparator<Map<String, Object>> BY_SCORE =
      Comparator.comparingDouble(RolloutExtremes::score);

  private final int each;
  private final List<Map<String, Object>> first = new ArrayList<>();
  private final Deque<Map<String, Object>> last = new ArrayDeque<>();
  private final PriorityQueue<Map<String, Object>> highest = new PriorityQueue<>(BY_SCORE);
  private final PriorityQueue<Map<String, Object>> lowest =
      new PriorityQueue<>(BY_SCORE.reversed());
  private long count;

  /**
   * @param each how many of each kind to keep
   */
  RolloutExtremes(int each) {
    this.each = each;
  }

  void add(Map<String, Object> rollout) {
    count++;
    if (first.size() < each) {
      first.add(rollout);
    }
    last.add(rollout);
    if (last.size() > each) {
      last.remove();
    }
    if (!Double.isNaN(score(rollout))) {
      keep(highest, rollout);
      keep(lowest, rollout);
    }
  }

  private void keep(PriorityQueue<Map<String, Object>> queue, Map<String, Object> rollout) {
    queue.add(rollout);
    if (queue.size() > each) {
      queue.remove();
    }
  }

  long count() {
    return count;
  }

  List<Map<String, Object>> first() {
    return first;
  }

  List<Map<String, Object>> last() {
    return List.copyOf(last);
  }

  /** Best first. */
  List<Map<String, Object>> highest() {
    return highest.stream().sorted(BY_SCORE.reversed()).toList();
  }

  /** Worst first. */
  List<Map<String, Object>> lowest() {
    return lowest.stream().sorted(BY_SCORE).toList();
  }

  private static double score(Map<String, Object> rollout) {
    return rollout.get("score") instanceof Number n ? n.doubleValue() : Double.NaN;
  }
}
