package org.rlhf4j.cli;

import java.nio.file.Path;
import java.util.Map;
import org.rlhf4j.hub.HubProgress;
import org.rlhf4j.hub.HubSettings;
import org.rlhf4j.hub.ModelHub;
import org.rlhf4j.report.Progress;

/**
 * What stands behind {@code --model}, {@code --adapter} and {@code --reward-adapter}: a path, or a
 * model's name on the hub. Set up once by each command, as the log is.
 */
final class Models {
  static final String MODEL =
      "a Hugging Face folder, a GGUF file, or org/name[@revision] on the hub";
  static final String ADAPTER = "an adapter in PEFT's format: a folder, or org/name[@revision]";
  static final String OFFLINE = "models by name: only those that are in the cache; no network";

  private static Map<String, String> environment = System.getenv();
  private static boolean offline;
  private static boolean quiet;

  private Models() {}

  /** To be called by every command before it opens a model. */
  static void configure(boolean offline, boolean quiet) {
    Models.offline = offline;
    Models.quiet = quiet;
  }

  /** Replaces the process's environment variables. */
  static void environment(Map<String, String> variables) {
    environment = Map.copyOf(variables);
  }

  /** The folder or file, downloaded where that is needed; null for null. */
  static Path local(Path pathOrName) {
    if (pathOrName == null || pathOrName.toFile().exists()) {
      return pathOrName;
    }
    HubSettings settings = HubSettings.from(environment);
    try (DownloadProgress progress = new DownloadProgress(quiet)) {
      return ModelHub.of(offline ? settings.withOffline(true) : settings)
          .withProgress(progress)
          .resolve(pathOrName.toString());
    }
  }

  /** Megabytes on standard error; and a word when the user stops it. */
  private static final class DownloadProgress implements HubProgress, AutoCloseable {
    private static final long MEGABYTE = 1_000_000;

    private final Progress progress;
    private boolean begun;
    private final Thread interrupted =
        new Thread(
            () ->
                System.err.println(
                    "rlhf4j: interrupted; what was downloaded is kept, and running again resumes"),
            "interrupt");

    DownloadProgress(boolean quiet) {
      progress = new Progress(quiet);
    }

    @Override
    public void begin(String model, long done, long total) {
      if (done < total) {
        begun = true;
        Runtime.getRuntime().addShutdownHook(interrupted);
        progress.begin("download " + model + " (MB)", rounded(done), rounded(total));
      }
    }

    private static long rounded(long bytes) {
      return (bytes + MEGABYTE - 1) / MEGABYTE;
    }

    @Override
    public void at(long done) {
      if (begun) {
        progress.step(rounded(done), Map.of());
      }
    }

    @Override
    public void note(String text) {
      progress.note("rlhf4j: " + text);
    }

    @Override
    public void end() {
      progress.close();
    }

    @Override
    public void close() {
      progress.close();
      try {
        Runtime.getRuntime().removeShutdownHook(interrupted);
      } catch (IllegalStateException shuttingDown) {
        // The hook is what runs.
      }
    }
  }
}
