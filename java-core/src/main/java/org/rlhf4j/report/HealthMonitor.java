package org.rlhf4j.report;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.rlhf4j.config.Settings;

/**
 * Follows a run's metrics line by line and tells each finding when it begins, not again while it
 * lasts.
 */
public final class HealthMonitor {
  /** Lines for which a finding must be gone before it counts as a new one. */
  private static final int CLEAR = 20;

  /** Lines from the run's start that are kept for comparison. */
  private static final int START = 10;

  private final Settings settings;
  private final List<Map<String, ?>> history = new ArrayList<>();
  private final Map<String, Integer> lastSeen = new HashMap<>();
  private int line;

  public HealthMonitor(Settings settings) {
    this.settings = settings;
  }

  /** Takes in the next line of metrics; tells what it newly shows. */
  public List<Finding> observe(Map<String, ?> metrics) {
    line++;
    history.add(metrics);
    if (history.size() > START + HealthChecks.WINDOW) {
      history.remove(START);
    }
    List<Finding> fresh = new ArrayList<>();
    for (Finding finding : HealthChecks.of(history, settings)) {
      Integer before = lastSeen.put(finding.code(), line);
      if (before == null || line - before > CLEAR) {
        fresh.add(finding);
      }
    }
    return fresh;
  }
}
