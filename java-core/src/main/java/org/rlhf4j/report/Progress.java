package org.rlhf4j.report;

import java.time.Duration;
import java.util.Locale;
import java.util.Map;
import java.util.function.LongSupplier;
import me.tongfei.progressbar.DelegatingProgressBarConsumer;
import me.tongfei.progressbar.ProgressBar;
import me.tongfei.progressbar.ProgressBarBuilder;
import me.tongfei.progressbar.ProgressBarStyle;

/**
 * Where a run is, on standard error: one live line for each stage on a terminal, plain lines now
 * and then elsewhere, nothing if quiet.
 */
public final class Progress implements AutoCloseable {
  /** Plain lines come when a twentieth of the stage is done, but not more often than this. */
  private static final Duration SHORTEST = Duration.ofSeconds(2);

  /** And at least this often, if there are steps at all. */
  private static final Duration LONGEST = Duration.ofSeconds(30);

  private enum Mode {
    LIVE,
    LINES,
    SILENT
  }

  private final Terminal terminal;
  private final Mode mode;
  private final LongSupplier nanos;

  private String stage;
  private long total;
  private long start;
  private long step;
  private long beganAt;
  private long lineAt;
  private long lineStep;
  private String status = "";
  private ProgressBar bar;

  /** Progress on standard error. */
  public Progress(boolean quiet) {
    this(Terminal.stderr(), quiet, System::nanoTime);
  }

  Progress(Terminal terminal, boolean quiet, LongSupplier nanos) {
    this.terminal = terminal;
    this.nanos = nanos;
    this.mode = quiet ? Mode.SILENT : terminal.hasLiveLine() ? Mode.LIVE : Mode.LINES;
  }

  /**
   * A new stage; the one before ends.
   *
   * @param stage its name, short
   * @param done steps made before, by an interrupted run
   * @param total steps of the whole stage
   */
  public void begin(String stage, long done, long total) {
    close();
    this.stage = stage;
    this.total = total;
    start = done;
    step = done;
    status = "";
    beganAt = nanos.getAsLong();
    lineAt = beganAt - LONGEST.toNanos();
    lineStep = done;
    if (mode == Mode.LIVE) {
      bar = bar(stage, done, total);
    } else if (mode == Mode.LINES) {
      terminal.line(stage + ": " + total + " steps" + (done > 0 ? ", from step " + done : ""));
    }
  }

  /** {@code step} of the stage is done. */
  public void step(long step, Map<String, ?> metrics) {
    this.step = step;
    status = status(metrics);
    if (bar != null) {
      bar.setExtraMessage(" " + status);
      bar.stepTo(step);
    } else if (mode == Mode.LINES && lineIsDue()) {
      printLine();
    }
  }

  /** A message above the live line; nothing if quiet. */
  public void note(String text) {
    if (mode != Mode.SILENT) {
      terminal.line(text);
    }
  }

  /** Ends the stage; its last state stays to be read. Can be called twice. */
  @Override
  public void close() {
    if (bar != null) {
      bar.close();
      bar = null;
      terminal.keepLive();
    } else if (mode == Mode.LINES && stage != null && lineStep != step) {
      printLine();
    }
    stage = null;
  }

  private ProgressBar bar(String name, long done, long all) {
    boolean unicode =
        System.getProperty("stderr.encoding", System.getProperty("native.encoding", ""))
            .toUpperCase(Locale.ROOT)
            .contains("UTF");
    return new ProgressBarBuilder()
        .setTaskName(name)
        .setInitialMax(all)
        .startsFrom(done, Duration.ZERO)
        .setUpdateIntervalMillis(250)
        .setStyle(unicode ? ProgressBarStyle.UNICODE_BLOCK : ProgressBarStyle.ASCII)
        .setConsumer(new DelegatingProgressBarConsumer(terminal::live, terminal.width()))
        .build();
  }

  private boolean lineIsDue() {
    long since = nanos.getAsLong() - lineAt;
    boolean far = (step - lineStep) * 20 >= total && since >= SHORTEST.toNanos();
    return far || since >= LONGEST.toNanos() || step >= total;
  }

  private void printLine() {
    long now = nanos.getAsLong();
    lineAt = now;
    lineStep = step;
    StringBuilder line = new StringBuilder();
    line.append(stage).append(": step ").append(step).append('/').append(total);
    if (total > 0) {
      line.append(" (").append(100 * step / total).append("%)");
    }
    if (!status.isEmpty()) {
      line.append("  ").append(status);
    }
    if (step > start && step < total) {
      long left = (long) ((double) (now - beganAt) / (step - start) * (total - step));
      line.append("  ").append(clock(left / 1_000_000_000)).append(" left");
    }
    terminal.line(line.toString());
  }

  /**
   * What matters of a step: reward and KL for PPO, otherwise the loss (and accuracy); and the
   * speed.
   */
  static String status(Map<String, ?> metrics) {
    StringBuilder text = new StringBuilder();
    if (metrics.containsKey("objective/kl")) {
      append(text, metrics, "objective/scores", "score %.3f");
      append(text, metrics, "objective/kl", "KL %.3f");
    } else {
      append(text, metrics, "loss", "loss %.4f");
      append(text, metrics, "accuracy", "accuracy %.2f");
    }
    append(text, metrics, "tokens_per_second", "%.0f tokens/s");
    return text.toString();
  }

  private static void append(
      StringBuilder text, Map<String, ?> metrics, String key, String format) {
    if (metrics.get(key) instanceof Number n) {
      text.append(text.isEmpty() ? "" : "  ")
          .append(String.format(Locale.ROOT, format, n.doubleValue()));
    }
  }

  /** Seconds as 0:07, 12:34 or 1:02:03. */
  static String clock(long seconds) {
    return seconds < 3600
        ? String.format(Locale.ROOT, "%d:%02d", seconds / 60, seconds % 60)
        : String.format(
            Locale.ROOT, "%d:%02d:%02d", seconds / 3600, seconds / 60 % 60, seconds % 60);
  }
}
