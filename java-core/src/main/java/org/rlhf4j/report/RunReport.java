package org.rlhf4j.report;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.rlhf4j.config.Settings;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Everything that is told of a step, in one call: metrics.jsonl, event file, progress line, health.
 */
public final class RunReport {
  private static final Logger LOG = LoggerFactory.getLogger(RunReport.class);

  private final RunFolder folder;
  private final Progress progress;
  private final Settings settings;
  private final HealthMonitor health;
  private final int every;
  private long total;

  public RunReport(RunFolder folder, Settings settings, Progress progress) {
    this.folder = folder;
    this.progress = progress;
    this.settings = settings;
    health = new HealthMonitor(settings);
    every = settings.flat().get("logging_steps") instanceof Integer n ? n : 1;
  }

  /**
   * Starts the stage, or goes on after {@code done} steps: what the folder holds of later steps is
   * forgotten.
   *
   * @param done steps that the checkpoint has seen; 0: none
   */
  public void begin(long done, long total) {
    begin(settings.command().text(), done, total);
  }

  /** The same, under a name of its own in the progress line. */
  public void begin(String stage, long done, long total) {
    this.total = total;
    folder.truncateTo(done);
    try {
      JsonLines.read(folder.path().resolve(RunFolder.METRICS), health::observe);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    progress.begin(stage, done, total);
  }

  /**
   * Tells of one step. Every {@code logging_steps}-th line, and the last, is written.
   *
   * @param step counts from 1
   */
  public void step(long step, Map<String, ?> metrics) {
    progress.step(step, metrics);
    if (step % every != 0 && step != total) {
      return;
    }
    Map<String, Object> line = new LinkedHashMap<>(metrics);
    List<Finding> findings = health.observe(metrics);
    if (!findings.isEmpty()) {
      line.put("health", findings.stream().map(Finding::text).toList());
      findings.forEach(f -> LOG.warn("step {}: {}", step, f.text()));
    }
    folder.metrics(step, line);
  }

  /** Ends the progress line. */
  public void end() {
    progress.close();
  }
}
