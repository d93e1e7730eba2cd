package org.rlhf4j.report;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.FileTime;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.rlhf4j.InputException;
import org.rlhf4j.config.Settings;

/**
 * A run folder, read for its report; the run may still be going on.
 *
 * @param name of the folder
 * @param configText config.yaml as it is
 * @param metrics lines of metrics.jsonl
 * @param samples lines of samples.jsonl
 */
record RunHistory(
    String name,
    Settings settings,
    String configText,
    List<Map<String, Object>> metrics,
    RolloutExtremes rollouts,
    List<Map<String, Object>> samples) {

  /**
   * Reads a run folder.
   *
   * @throws InputException if it is none, or its config.yaml cannot be read
   */
  static RunHistory read(Path folder) {
    if (!RunFolder.isRun(folder)) {
      throw InputException.at(folder, "expected a run folder, which has a " + RunFolder.CONFIG);
    }
    Path config = folder.resolve(RunFolder.CONFIG);
    Settings settings = Settings.loadRun(config).withoutOrigins();
    List<Map<String, Object>> metrics = new ArrayList<>();
    List<Map<String, Object>> samples = new ArrayList<>();
    RolloutExtremes rollouts = new RolloutExtremes(4);
    try {
      JsonLines.read(folder.resolve(RunFolder.METRICS), metrics::add);
      JsonLines.read(folder.resolve(RunFolder.SAMPLES), samples::add);
      JsonLines.read(folder.resolve(RunFolder.ROLLOUTS), rollouts::add);
      String name = folder.toAbsolutePath().normalize().getFileName().toString();
      return new RunHistory(name, settings, Files.readString(config), metrics, rollouts, samples);
    } catch (IOException e) {
      throw new UncheckedIOException(folder + ": cannot be read: " + e.getMessage(), e);
    }
  }

  /**
   * The run folders that {@code folder} stands for: itself, or those in it in the order of their
   * beginning.
   *
   * @throws InputException if there are none
   */
  static List<Path> runsIn(Path folder) {
    if (RunFolder.isRun(folder)) {
      return List.of(folder);
    }
    List<Path> runs = List.of();
    if (Files.isDirectory(folder)) {
      try (Stream<Path> children = Files.list(folder)) {
        runs =
            children
                .filter(RunFolder::isRun)
                .sorted(Comparator.comparing(RunHistory::began).thenComparing(Path::getFileName))
                .toList();
      } catch (IOException e) {
        throw new UncheckedIOException(folder + ": cannot be read: " + e.getMessage(), e);
      }
    }
    if (runs.isEmpty()) {
      throw InputException.at(
          folder, "expected a run folder (with a " + RunFolder.CONFIG + "), or a folder of such");
    }
    return runs;
  }

  private static FileTime began(Path run) {
    try {
      return Files.getLastModifiedTime(run.resolve(RunFolder.CONFIG));
    } catch (IOException e) {
      return FileTime.fromMillis(0);
    }
  }
}
