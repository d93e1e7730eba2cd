package org.rlhf4j.report;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;

/** A run's metrics as columns for charts, thinned to what a screen can show. */
final class ChartData {
  /** Points of a curve; a longer run has means of neighbouring steps. */
  static final int POINTS = 1500;

  private static final Set<String> NOT_CHARTED = Set.of(JsonLines.STEP, "health");

  private ChartData() {}

  /** Names of the numbers in {@code metrics}, in the guide's order. */
  static List<String> names(List<Map<String, Object>> metrics) {
    Set<String> names = new LinkedHashSet<>();
    for (Map<String, Object> line : metrics) {
      line.forEach(
          (name, value) -> {
            if (value instanceof Number && !NOT_CHARTED.contains(name)) {
              names.add(name);
            }
          });
    }
    return MetricGuide.order(names);
  }

  /** Metric → [steps, values]; steps without a finite value are left out. */
  static Map<String, List<List<Double>>> columns(List<Map<String, Object>> metrics) {
    Map<String, List<List<Double>>> columns = new LinkedHashMap<>();
    for (String name : names(metrics)) {
      List<Double> steps = new ArrayList<>();
      List<Double> values = new ArrayList<>();
      for (Map<String, Object> line : metrics) {
        if (line.get(name) instanceof Number value
            && Double.isFinite(value.doubleValue())
            && line.get(JsonLines.STEP) instanceof Number step) {
          steps.add(step.doubleValue());
          values.add(value.doubleValue());
        }
      }
      columns.put(name, List.of(thin(steps), thin(values)));
    }
    return columns;
  }

  private static List<Double> thin(List<Double> values) {
    int size = (values.size() + POINTS - 1) / POINTS;
    if (size <= 1) {
      return values;
    }
    List<Double> means = new ArrayList<>();
    for (int from = 0; from < values.size(); from += size) {
      List<Double> part = values.subList(from, Math.min(values.size(), from + size));
      means.add(part.stream().mapToDouble(Double::doubleValue).average().orElseThrow());
    }
    return means;
  }
}
