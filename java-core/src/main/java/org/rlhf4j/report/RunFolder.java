package org.rlhf4j.report;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.channels.FileLock;
import java.nio.channels.OverlappingFileLockException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.Set;
import java.util.stream.Stream;
import org.rlhf4j.InputException;
import org.rlhf4j.config.ConfigYaml;
import org.rlhf4j.config.Settings;

/**
 * The folder of one run ({@code --out}), open for writing by one process. Failures to write are
 * {@link UncheckedIOException}.
 */
public final class RunFolder implements AutoCloseable {
  static final String CONFIG = "config.yaml";
  static final String METRICS = "metrics.jsonl";
  static final String ROLLOUTS = "rollouts.jsonl";
  static final String SAMPLES = "samples.jsonl";
  static final String CHECKPOINTS = "checkpoints";
  static final String TENSORBOARD = "tensorboard";
  private static final String LOCK = ".lock";
  private static final String STEP_PREFIX = "step-";

  /** Keys that a resumed run may have otherwise, with the same results. */
  private static final Set<String> NEUTRAL =
      Set.of("resume", "out", "save_steps", "save_total_limit", "num_sample_generations");

  private final Path path;
  private final int keep;
  private final List<String> warnings;
  private final FileChannel lock;
  private JsonLines metrics;
  private JsonLines rollouts;
  private JsonLines samples;
  private EventFile events;

  private RunFolder(Path path, int keep, List<String> warnings, FileChannel lock) {
    this.path = path;
    this.keep = keep;
    this.warnings = List.copyOf(warnings);
    this.lock = lock;
  }

  /**
   * Makes the run folder {@code out}, or with the key {@code resume} opens the one that is there.
   *
   * @param versions of this program, Java, native library, written to config.yaml
   * @throws InputException if {@code out} holds other files, or a run and {@code resume} is not
   *     set, or no run (or one of another command) and it is set, or is in use
   */
  public static RunFolder open(Path out, Settings settings, Map<String, String> versions) {
    boolean resume = Boolean.TRUE.equals(settings.flat().get("resume"));
    try {
      if (resume) {
        return resume(out, settings, versions);
      }
      refuseToOverwrite(out);
      Files.createDirectories(out);
      FileChannel lock = lock(out);
      writeConfig(out, settings, versions);
      return new RunFolder(out, keep(settings), List.of(), lock);
    } catch (IOException e) {
      throw new UncheckedIOException("the run folder " + out + " cannot be made: " + reason(e), e);
    }
  }

  private static void refuseToOverwrite(Path out) throws IOException {
    if (Files.exists(out) && !Files.isDirectory(out)) {
      throw InputException.at(out, "expected a folder for --out, found a file");
    }
    if (isRun(out)) {
      throw InputException.at(
          out, "this folder holds a run: pass --resume to continue it, or another --out");
    }
    if (Files.isDirectory(out)) {
      try (Stream<Path> files = Files.list(out)) {
        boolean other = files.anyMatch(f -> !f.getFileName().toString().equals(LOCK));
        if (other) {
          throw InputException.at(
              out, "expected a new or empty folder for --out, found files that are not a run's");
        }
      }
    }
  }

  private static RunFolder resume(Path out, Settings settings, Map<String, String> versions)
      throws IOException {
    if (!isRun(out)) {
      throw InputException.at(out, "no run to resume: expected a run folder with " + CONFIG);
    }
    Settings before = Settings.load(settings.command(), out.resolve(CONFIG));
    List<String> warnings = new ArrayList<>();
    boolean changed = false;
    for (Map.Entry<String, Object> e : settings.flat().entrySet()) {
      Object old = before.flat().get(e.getKey());
      if (Objects.equals(old, e.getValue()) || e.getKey().equals("resume")) {
        continue;
      }
      changed = true;
      if (!NEUTRAL.contains(e.getKey())) {
        warnings.add(
            settings.where(e.getKey())
                + ": "
                + e.getValue()
                + " now, "
                + old
                + " when the run began; the result is not that of one uninterrupted run");
      }
    }
    FileChannel lock = lock(out);
    AtomicFolder.repair(out);
    AtomicFolder.repair(out.resolve(CHECKPOINTS));
    if (changed) {
      writeConfig(out, settings, versions);
    }
    return new RunFolder(out, keep(settings), warnings, lock);
  }

  /** Whether {@code folder} is a run's. */
  public static boolean isRun(Path folder) {
    return Files.isRegularFile(folder.resolve(CONFIG));
  }

  /** What a resumed run was told otherwise than before; to be logged. */
  public List<String> warnings() {
    return warnings;
  }

  public Path path() {
    return path;
  }

  /**
   * Appends one line to metrics.jsonl, and its numbers to the event file.
   *
   * @param step counts from 1
   * @param values numbers, text or lists of text; NaN and infinities are written as null
   */
  public void metrics(long step, Map<String, ?> values) {
    io(
        METRICS,
        () -> {
          if (metrics == null) {
            metrics = new JsonLines(path.resolve(METRICS));
          }
          metrics.append(withStep(step, values));
          events().scalars(step, values);
        });
  }

  /**
   * Appends one line to rollouts.jsonl: {@code query_ids}, {@code response_ids}, {@code score} and
   * what else is known.
   */
  public void rollout(long step, Map<String, ?> rollout) {
    io(
        ROLLOUTS,
        () -> {
          if (rollouts == null) {
            rollouts = new JsonLines(path.resolve(ROLLOUTS));
          }
          rollouts.append(withStep(step, rollout));
        });
  }

  /**
   * Appends one line to samples.jsonl: an answer to the same query before and after training, for
   * the report.
   *
   * @param when "before" or "after"
   * @param sample {@code query}, {@code response}, and {@code score} if known
   */
  public void sample(long step, String when, Map<String, ?> sample) {
    io(
        SAMPLES,
        () -> {
          if (samples == null) {
            samples = new JsonLines(path.resolve(SAMPLES));
          }
          Map<String, Object> line = new LinkedHashMap<>();
          line.put("when", when);
          line.putAll(sample);
          samples.append(withStep(step, line));
        });
  }

  /** Forgets the samples of one kind: a resumed run is about to write them again. */
  public void forgetSamples(String when) {
    io(
        SAMPLES,
        () -> {
          if (samples != null) {
            samples.close();
            samples = null;
          }
          Path file = path.resolve(SAMPLES);
          StringBuilder kept = new StringBuilder();
          JsonLines.read(
              file,
              line -> {
                if (!when.equals(line.get("when"))) {
                  kept.append(JsonLines.write(line)).append('\n');
                }
              });
          if (Files.exists(file)) {
            replace(file, kept.toString().getBytes(StandardCharsets.UTF_8));
          }
        });
  }

  /**
   * Writes {@code checkpoints/step-N}, whole or not at all, after everything that was appended
   * before has been forced to disk; then removes checkpoints beyond the number to keep.
   *
   * @return the checkpoint's folder
   */
  public Path checkpoint(long step, FolderWriter writer) {
    Path folder = path.resolve(CHECKPOINTS).resolve(STEP_PREFIX + step);
    io(
        CHECKPOINTS,
        () -> {
          force();
          AtomicFolder.write(folder, writer);
          List<Path> all = checkpoints();
          for (int i = 0; keep > 0 && i < all.size() - keep; i++) {
            AtomicFolder.delete(all.get(i));
          }
        });
    return folder;
  }

  /** The checkpoint with the highest step. */
  public Optional<Path> latestCheckpoint() {
    List<Path> all = new ArrayList<>();
    io(CHECKPOINTS, () -> all.addAll(checkpoints()));
    return all.isEmpty() ? Optional.empty() : Optional.of(all.getLast());
  }

  /** The N of {@code checkpoints/step-N}. */
  public static long stepOf(Path checkpoint) {
    return Long.parseLong(checkpoint.getFileName().toString().substring(STEP_PREFIX.length()));
  }

  /**
   * Forgets everything after {@code step}, so that a run that goes on from there leaves the files
   * of a run that was never interrupted. Step 0 forgets everything.
   */
  public void truncateTo(long step) {
    io(
        METRICS,
        () -> {
          closeFiles();
          for (String name : List.of(METRICS, ROLLOUTS, SAMPLES)) {
            JsonLines.truncateTo(path.resolve(name), step);
          }
          for (Path checkpoint : checkpoints()) {
            if (stepOf(checkpoint) > step) {
              AtomicFolder.delete(checkpoint);
            }
          }
          if (Files.isDirectory(path.resolve(TENSORBOARD))) {
            events().purgeAfter(step);
          }
        });
  }

  /** Replaces the folder {@code name} ("adapter") whole or not at all. */
  public Path publish(String name, FolderWriter writer) {
    Path folder = path.resolve(name);
    io(name, () -> AtomicFolder.write(folder, writer));
    return folder;
  }

  /** Replaces the file {@code name} ("report.html") whole or not at all. */
  public Path publishFile(String name, byte[] bytes) {
    Path file = path.resolve(name);
    io(name, () -> replace(file, bytes));
    return file;
  }

  /** Closes the files and lets other processes open the folder. Can be called twice. */
  @Override
  public void close() {
    io(
        METRICS,
        () -> {
          closeFiles();
          if (lock.isOpen()) {
            Files.deleteIfExists(path.resolve(LOCK));
            lock.close();
          }
        });
  }

  private List<Path> checkpoints() throws IOException {
    Path parent = path.resolve(CHECKPOINTS);
    if (!Files.isDirectory(parent)) {
      return List.of();
    }
    try (Stream<Path> files = Files.list(parent)) {
      return files
          .filter(p -> p.getFileName().toString().matches(STEP_PREFIX + "[0-9]{1,18}"))
          .sorted(Comparator.comparingLong(RunFolder::stepOf))
          .toList();
    }
  }

  private EventFile events() throws IOException {
    if (events == null) {
      events = EventFile.create(path.resolve(TENSORBOARD));
    }
    return events;
  }

  private void force() throws IOException {
    for (JsonLines file : open()) {
      file.force();
    }
  }

  private void closeFiles() throws IOException {
    for (JsonLines file : open()) {
      file.close();
    }
    metrics = null;
    rollouts = null;
    samples = null;
    if (events != null) {
      events.close();
      events = null;
    }
  }

  private List<JsonLines> open() {
    return Stream.of(
            Optional.ofNullable(metrics),
            Optional.ofNullable(rollouts),
            Optional.ofNullable(samples))
        .flatMap(Optional::stream)
        .toList();
  }

  private static Map<String, Object> withStep(long step, Map<String, ?> values) {
    Map<String, Object> line = new LinkedHashMap<>();
    line.put(JsonLines.STEP, step);
    values.forEach((k, v) -> line.putIfAbsent(k, v));
    return line;
  }

  private static int keep(Settings settings) {
    return settings.flat().get("save_total_limit") instanceof Integer limit ? limit : 0;
  }

  private static void writeConfig(Path out, Settings settings, Map<String, String> versions)
      throws IOException {
    String text = ConfigYaml.write(settings.with("resume", false).effective(versions));
    replace(out.resolve(CONFIG), text.getBytes(StandardCharsets.UTF_8));
  }

  private static void replace(Path file, byte[] bytes) throws IOException {
    Path fresh = file.resolveSibling("." + file.getFileName() + ".new");
    try (FileChannel channel =
        FileChannel.open(
            fresh,
            StandardOpenOption.CREATE,
            StandardOpenOption.WRITE,
            StandardOpenOption.TRUNCATE_EXISTING)) {
      ByteBuffer rest = ByteBuffer.wrap(bytes);
      while (rest.hasRemaining()) {
        channel.write(rest);
      }
      channel.force(true);
    }
    Files.move(fresh, file, StandardCopyOption.ATOMIC_MOVE);
  }

  private static FileChannel lock(Path out) throws IOException {
    FileChannel channel =
        FileChannel.open(out.resolve(LOCK), StandardOpenOption.CREATE, StandardOpenOption.WRITE);
    FileLock lock;
    try {
      lock = channel.tryLock();
    } catch (OverlappingFileLockException e) {
      lock = null;
    }
    if (lock == null) {
      channel.close();
      throw InputException.at(out, "another process is writing to this run folder");
    }
    return channel;
  }

  private interface Action {
    void run() throws IOException;
  }

  private void io(String what, Action action) {
    try {
      action.run();
    } catch (IOException e) {
      throw new UncheckedIOException(path.resolve(what) + ": not written: " + reason(e), e);
    }
  }

  private static String reason(IOException e) {
    return e.getMessage() == null ? e.getClass().getSimpleName() : e.getMessage();
  }
}
