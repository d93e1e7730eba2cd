package org.rlhf4j.report;

import java.util.Arrays;
import java.util.List;
import java.util.Map;

/**
 * The finite values of one metric, oldest first. Means and such of no values are NaN, with which
 * every comparison is false.
 */
record Series(double[] values) {
  static Series of(List<? extends Map<String, ?>> history, String metric) {
    return new Series(
        history.stream()
            .map(m -> m.get(metric))
            .filter(v -> v instanceof Number n && Double.isFinite(n.doubleValue()))
            .mapToDouble(v -> ((Number) v).doubleValue())
            .toArray());
  }

  int size() {
    return values.length;
  }

  /**
   * The last {@code n} values; none if there are fewer, so that a check waits for enough of them.
   */
  Series last(int n) {
    return new Series(size() < n ? new double[0] : Arrays.copyOfRange(values, size() - n, size()));
  }

  /** The first {@code n} values, or none. */
  Series first(int n) {
    return new Series(size() < n ? new double[0] : Arrays.copyOf(values, n));
  }

  /** Without the last {@code n}. */
  Series before(int n) {
    return new Series(Arrays.copyOf(values, Math.max(0, size() - n)));
  }

  double mean() {
    return Arrays.stream(values).average().orElse(Double.NaN);
  }

  double min() {
    return Arrays.stream(values).min().orElse(Double.NaN);
  }

  double max() {
    return Arrays.stream(values).max().orElse(Double.NaN);
  }

  double sum() {
    return size() == 0 ? Double.NaN : Arrays.stream(values).sum();
  }

  /** Pearson's correlation; NaN where one of the two does not change. */
  double correlation(Series other) {
    int n = Math.min(size(), other.size());
    double x = last(n).mean();
    double y = other.last(n).mean();
    double xy = 0;
    double xx = 0;
    double yy = 0;
    for (int i = 0; i < n; i++) {
      double dx = values[size() - n + i] - x;
      double dy = other.values[other.size() - n + i] - y;
      xy += dx * dy;
      xx += dx * dx;
      yy += dy * dy;
    }
    return xy / Math.sqrt(xx * yy);
  }
}
