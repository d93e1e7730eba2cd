package org.rlhf4j.report;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.rlhf4j.InputException;
import org.rlhf4j.config.Command;
import org.rlhf4j.config.Settings;

class RunFolderTest {
  private static final Settings SETTINGS = Settings.defaults(Command.SFT);
  private static final Map<String, String> VERSIONS = Map.of("rlhf4j", "test");

  @TempDir Path temp;

  private RunFolder create(String name) {
    return RunFolder.open(temp.resolve(name), SETTINGS, VERSIONS);
  }

  private static RunFolder resume(Path out) {
    return RunFolder.open(out, SETTINGS.with("resume", true), VERSIONS);
  }

  private static String refusal(Path out, Settings settings) {
    return assertThrows(InputException.class, () -> RunFolder.open(out, settings, VERSIONS))
        .getMessage()
        .replace(out.toString(), "OUT");
  }

  private static List<String> names(Path folder) throws IOException {
    try (Stream<Path> files = Files.list(folder)) {
      return files.map(p -> p.getFileName().toString()).sorted().toList();
    }
  }

  @Test
  void aNewRunHasItsConfiguration() throws IOException {
    Path out = temp.resolve("a/b");
    create("a/b").close();
    assertEquals(List.of("config.yaml"), names(out));
    assertEquals(SETTINGS, Settings.load(Command.SFT, out.resolve("config.yaml")));
    assertTrue(Files.readString(out.resolve("config.yaml")).contains("rlhf4j: test"));
  }

  @Test
  void nothingIsOverwritten() throws IOException {
    Path out = temp.resolve("run");
    create("run").close();
    assertEquals(
        "OUT: this folder holds a run: pass --resume to continue it, or another --out",
        refusal(out, SETTINGS));
    Path other = Files.createDirectory(temp.resolve("other"));
    create("other").close(); // an empty folder is fine
    Files.delete(other.resolve("config.yaml"));
    Files.writeString(other.resolve("thesis.tex"), "x");
    assertTrue(refusal(other, SETTINGS).startsWith("OUT: expected a new or empty folder"));
    assertEquals(
        "OUT: expected a folder for --out, found a file",
        refusal(other.resolve("thesis.tex"), SETTINGS));
  }

  @Test
  void onlyARunOfTheSameCommandIsResumed() {
    Path out = temp.resolve("run");
    Settings again = SETTINGS.with("resume", true);
    assertEquals(
        "OUT: no run to resume: expected a run folder with config.yaml", refusal(out, again));
    create("run").close();
    assertTrue(
        refusal(out, Settings.defaults(Command.PPO).with("resume", true))
            .endsWith("this configuration is for sft, and the command is ppo"));
  }

  @Test
  void twoProcessesDoNotShareAFolder() {
    Path out = temp.resolve("run");
    RunFolder first = create("run");
    assertEquals(
        "OUT: another process is writing to this run folder",
        refusal(out, SETTINGS.with("resume", true)));
    first.close();
    first.close();
    resume(out).close();
  }

  @Test
  void whatChangedIsTold() {
    create("run").close();
    try (RunFolder run =
        RunFolder.open(
            temp.resolve("run"),
            SETTINGS.with("resume", true).with("learning_rate", 1e-3).with("save_steps", 5),
            VERSIONS)) {
      assertEquals(1, run.warnings().size());
      assertTrue(
          run.warnings().get(0).startsWith("learning_rate: 0.001 now, 2.0E-4 when the run began"),
          run.warnings().get(0));
    }
    assertEquals(
        5, Settings.load(Command.SFT, temp.resolve("run/config.yaml")).flat().get("save_steps"));
  }

  @Test
  void metricsAreThereAsSoonAsWritten() throws IOException {
    try (RunFolder run = create("run")) {
      run.metrics(1, Map.of("loss", 1.5));
      run.metrics(2, Map.of("loss", Double.NaN));
      run.metrics(3, Map.of("health", List.of("a \"b\"\n")));
      run.metrics(4, Map.of("loss", Float.NEGATIVE_INFINITY));
      assertEquals(
          """
          {"step":1,"loss":1.5}
          {"step":2,"loss":null}
          {"step":3,"health":["a \\"b\\"\\n"]}
          {"step":4,"loss":null}
          """,
          Files.readString(run.path().resolve("metrics.jsonl")));
    }
  }

  @Test
  void truncationLeavesTheBytesOfAnUninterruptedRun() throws IOException {
    Path out = temp.resolve("run");
    try (RunFolder run = create("run")) {
      for (int step = 1; step <= 5; step++) {
        run.rollout(step, Map.of("score", 0.5 * step, "query", "ж" + step));
        run.rollout(step, Map.of("score", -step));
        run.metrics(step, Map.of("loss", 1.0 / step));
        run.checkpoint(step, f -> Files.writeString(f.resolve("x"), "y"));
      }
    }
    byte[] metrics = Files.readAllBytes(out.resolve("metrics.jsonl"));
    byte[] rollouts = Files.readAllBytes(out.resolve("rollouts.jsonl"));
    // A process that dies may leave half a line.
    Files.writeString(out.resolve("metrics.jsonl"), "{\"step\":6,", StandardOpenOption.APPEND);
    try (RunFolder run = resume(out)) {
      run.truncateTo(4);
      assertEquals(4, RunFolder.stepOf(run.latestCheckpoint().orElseThrow()));
      run.rollout(5, Map.of("score", 2.5, "query", "ж5"));
      run.rollout(5, Map.of("score", -5));
      run.metrics(5, Map.of("loss", 0.2));
    }
    assertEquals(new String(metrics), Files.readString(out.resolve("metrics.jsonl")));
    assertEquals(
        new String(rollouts).lines().limit(8).toList(),
        Files.readString(out.resolve("rollouts.jsonl")).lines().limit(8).toList());
    assertEquals(10, Files.readString(out.resolve("rollouts.jsonl")).lines().count());
    try (RunFolder run = resume(out)) {
      run.truncateTo(0);
      assertEquals(0, Files.size(out.resolve("metrics.jsonl")));
      assertEquals(Optional.empty(), run.latestCheckpoint());
    }
  }

  @Test
  void checkpointsAreOrderedByNumberAndLimited() throws IOException {
    try (RunFolder run = create("run")) {
      for (long step : new long[] {9, 10, 100}) {
        run.checkpoint(step, f -> Files.writeString(f.resolve("x"), "" + step));
      }
      assertEquals(List.of("step-10", "step-100"), names(run.path().resolve("checkpoints")));
      assertEquals(100, RunFolder.stepOf(run.latestCheckpoint().orElseThrow()));
    }
  }

  @Test
  void aFailedWriteLeavesWhatWasThere() throws IOException {
    try (RunFolder run = create("run")) {
      run.publish("adapter", f -> Files.writeString(f.resolve("x"), "1"));
      run.publish(
          "adapter",
          f -> Files.writeString(Files.createDirectory(f.resolve("d")).resolve("y"), "2"));
      assertThrows(
          UncheckedIOException.class,
          () ->
              run.publish(
                  "adapter",
                  f -> {
                    Files.writeString(f.resolve("z"), "3");
                    throw new IOException("disk full");
                  }));
      assertThrows(
          IllegalStateException.class,
          () ->
              run.checkpoint(
                  1,
                  f -> {
                    throw new IllegalStateException();
                  }));
      assertEquals(List.of("d"), names(run.path().resolve("adapter")));
      assertEquals(List.of(), names(run.path().resolve("checkpoints")));
      assertEquals(List.of(".lock", "adapter", "checkpoints", "config.yaml"), names(run.path()));
    }
  }

  @Test
  void resumeRepairsWhatAKilledProcessLeft() throws IOException {
    Path out = temp.resolve("run");
    create("run").close();
    // Killed between the two renames of a replacement, and while writing a checkpoint.
    Files.writeString(Files.createDirectory(out.resolve(".adapter.old")).resolve("x"), "1");
    Files.createDirectory(out.resolve(".adapter.new"));
    Files.createDirectories(out.resolve("checkpoints/.step-3.new"));
    try (RunFolder run = resume(out)) {
      assertEquals(Optional.empty(), run.latestCheckpoint());
      assertEquals(List.of("x"), names(out.resolve("adapter")));
      assertEquals(List.of(), names(out.resolve("checkpoints")));
      assertFalse(Files.exists(out.resolve(".adapter.new")));
    }
  }
}
