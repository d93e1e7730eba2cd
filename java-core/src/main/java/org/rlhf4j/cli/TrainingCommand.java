package org.rlhf4j.cli;

import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.rlhf4j.algorithms.Trainer;
import org.rlhf4j.config.Command;
import org.rlhf4j.config.Settings;
import org.rlhf4j.config.StageConfig;
import org.rlhf4j.report.FolderWriter;
import org.rlhf4j.report.HtmlReport;
import org.rlhf4j.report.Log;
import org.rlhf4j.report.Progress;
import org.rlhf4j.report.RunFolder;
import org.rlhf4j.report.RunReport;
import org.slf4j.Logger;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Unmatched;

/**
 * What sft, reward and ppo share: the configuration from file, flags and overrides; then a loop
 * over a trainer's steps that writes the run folder, checkpoints on the way and when interrupted,
 * and the result at the end.
 */
abstract class TrainingCommand implements Callable<Integer> {
  @Mixin private OutputOptions output;

  @Unmatched private List<String> arguments = new ArrayList<>();

  private volatile boolean interrupted;

  /**
   * Counted down when everything is written and said: a process that is told to stop waits for it.
   */
  private final CountDownLatch ended = new CountDownLatch(1);

  private final Thread hook = new Thread(this::waitForCheckpoint, "interrupt");

  /** The stage's configuration. */
  abstract StageConfig configure(Settings settings);

  abstract Command command();

  /** Loads model and data and runs the stage, with {@link #drive} for the loop. */
  abstract void run(StageConfig config, Stage stage) throws IOException;

  /** What a running stage has at hand. */
  record Stage(RunFolder folder, RunReport report, Logger log) {}

  @Override
  public Integer call() throws IOException {
    try {
      return runStage();
    } catch (InterruptedRunException e) {
      // Said here: the process ends as soon as the hook does.
      System.err.println("rlhf4j: " + e.getMessage());
      return Main.INTERRUPTED;
    } finally {
      ended.countDown();
      try {
        Runtime.getRuntime().removeShutdownHook(hook);
      } catch (IllegalStateException shuttingDown) {
        // the hook is what runs
      }
    }
  }

  private int runStage() throws IOException {
    output.configureLog();
    Logger log = Log.of(getClass());
    StageConfig config = configure(Settings.fromArguments(command(), arguments));
    // What is wrong with the paths is said before anything is made.
    config.paths().requiredModel();
    Path out = config.paths().requiredOut();
    config.warnings().forEach(log::warn);
    Progress progress = new Progress(output.quiet);
    Map<String, Object> last;
    try (LazyFolder lazy = new LazyFolder(out, config.settings())) {
      prepare(config, log);
      RunFolder folder = lazy.open();
      folder.warnings().forEach(log::warn);
      Stage stage = new Stage(folder, new RunReport(folder, config.settings(), progress), log);
      run(config, stage);
      HtmlReport.write(folder.path());
      last = lastMetrics;
    } finally {
      release();
    }
    Map<String, Object> document = new LinkedHashMap<>();
    document.put("out", out.toString());
    document.put("metrics", last);
    if (output.json) {
      Output.json(document);
    } else if (!output.quiet) {
      System.err.println("rlhf4j: " + command().text() + " done, the result is in " + out);
    }
    return 0;
  }

  private Map<String, Object> lastMetrics = Map.of();

  /**
   * Loads what the run needs; everything that can be wrong with the user's files is found here,
   * before the run folder is made.
   */
  abstract void prepare(StageConfig config, Logger log) throws IOException;

  /** Closes what {@link #prepare} opened. */
  abstract void release();

  /** The run folder, made when the input has been found good. */
  private static final class LazyFolder implements AutoCloseable {
    private final Path out;
    private final Settings settings;
    private RunFolder folder;

    LazyFolder(Path out, Settings settings) {
      this.out = out;
      this.settings = settings;
    }

    RunFolder open() {
      folder = RunFolder.open(out, settings, Version.versions());
      return folder;
    }

    @Override
    public void close() {
      if (folder != null) {
        folder.close();
      }
    }
  }

  /**
   * Makes the trainer's steps, from the latest checkpoint if the run is resumed.
   *
   * @param results what is published at the end, by folder name
   */
  final void drive(
      StageConfig config, Stage stage, Trainer trainer, Map<String, FolderWriter> results)
      throws IOException {
    long done = 0;
    if (config.paths().resume() && stage.folder().latestCheckpoint().isPresent()) {
      Path checkpoint = stage.folder().latestCheckpoint().get();
      trainer.load(checkpoint);
      done = trainer.stepsDone();
      stage.log().info("resumed from {}", checkpoint);
    }
    Runtime.getRuntime().addShutdownHook(hook);
    try {
      stage.report().begin(done, trainer.totalSteps());
      int every = config.training().saveSteps();
      while (trainer.stepsDone() < trainer.totalSteps()) {
        Map<String, Object> metrics = trainer.step();
        long step = trainer.stepsDone();
        lastMetrics = metrics;
        stage.report().step(step, metrics);
        boolean last = step == trainer.totalSteps();
        if (interrupted || last || (every > 0 && step % every == 0)) {
          Path saved = stage.folder().checkpoint(step, trainer::save);
          if (interrupted && !last) {
            stage.report().end();
            throw new InterruptedRunException(
                "interrupted after step "
                    + step
                    + "; saved "
                    + saved
                    + "; --resume continues from there");
          }
        }
      }
      stage.report().end();
      results.forEach(stage.folder()::publish);
    } catch (RuntimeException | Error e) {
      stage.report().end();
      if (e instanceof InterruptedRunException) {
        throw e;
      }
      throw new RuntimeException(
          (e.getMessage() == null ? e.getClass().getSimpleName() : e.getMessage())
              + stage
                  .folder()
                  .latestCheckpoint()
                  .map(c -> "; the last checkpoint is " + c)
                  .orElse("; no checkpoint had been written"),
          e);
    }
  }

  /** Runs when the process is told to stop: lets the step that is under way end and save. */
  private void waitForCheckpoint() {
    interrupted = true;
    try {
      ended.await(10, TimeUnit.MINUTES);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }
}
