package org.rlhf4j.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeFalse;
import static org.rlhf4j.cli.TrainingRuns.assertSame;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.rlhf4j.json.Json;
import org.rlhf4j.testing.TestDevice;

/**
 * What only a process of its own shows: signals, exit codes, what is on file descriptor 1, and
 * failures in mid-run.
 */
@Timeout(value = 5, unit = TimeUnit.MINUTES)
class ProcessTest {
  @TempDir Path work;

  private Process start(List<Object> line, Object... more) throws IOException {
    return start(work, Map.of(), line, more);
  }

  /**
   * Starts the command line in a process whose streams are the files out and err of {@code work}.
   */
  static Process start(
      Path work, Map<String, String> environment, List<Object> line, Object... more)
      throws IOException {
    List<String> command = new ArrayList<>();
    command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
    command.add("--enable-native-access=ALL-UNNAMED");
    for (String property : List.of("rlhf4j.native.dir", "rlhf4j.golden")) {
      if (System.getProperty(property) != null) {
        command.add("-D" + property + "=" + System.getProperty(property));
      }
    }
    command.addAll(List.of("-cp", System.getProperty("java.class.path"), "org.rlhf4j.cli.Main"));
    Stream.concat(line.stream(), Stream.of(more)).map(String::valueOf).forEach(command::add);
    ProcessBuilder builder =
        new ProcessBuilder(command)
            .redirectOutput(work.resolve("out").toFile())
            .redirectError(work.resolve("err").toFile());
    builder.environment().putAll(environment);
    return builder.start();
  }

  private String printed(String name) throws IOException {
    return Files.readString(work.resolve(name));
  }

  @Test
  void codesAndStreams() throws Exception {
    assertEquals(0, start(List.of("--version")).waitFor());
    assertTrue(printed("out").startsWith("rlhf4j "));
    assertEquals(2, start(List.of("generate", "--gready")).waitFor());
    assertEquals("", printed("out"));
    assertEquals(
        0, start(TrainingRuns.ppo(work, work.resolve("run")), "max_steps=1", "--json").waitFor());
    JsonNode document = Json.MAPPER.readTree(printed("out"));
    assertTrue(document.get("metrics").has("objective/kl"));
    assertEquals(1, printed("out").lines().count());
    assertEquals(
        0,
        start(
                List.of(
                    "generate",
                    "--model",
                    TrainingRuns.MODEL,
                    "--prompt",
                    "你好",
                    "--json",
                    "--greedy",
                    "--device",
                    TestDevice.name()))
            .waitFor());
    assertEquals(1, Json.MAPPER.readTree(printed("out")).get("sequences").size());
    assertEquals("", printed("err").replaceAll("(?m)^WARNING: .*\n", ""));
  }

  /** In a process of its own: loggers keep the level that they were made with. */
  @Test
  void quietIsQuiet() throws Exception {
    assertEquals(
        0, start(TrainingRuns.sft(work, work.resolve("run")), "max_steps=1", "--quiet").waitFor());
    assertEquals("", printed("out"));
    assertEquals("", printed("err").replaceAll("(?m)^WARNING: .*\n", ""));
  }

  @Test
  void anInterruptedRunSavesItsWorkAndGoesOn() throws Exception {
    assumeFalse(
        interruptIsIgnored(), "skipped: SIGINT is ignored here, as in a shell's background jobs");
    Path out = work.resolve("run");
    Process process =
        start(
            TrainingRuns.sft(work, out),
            "max_steps=100000",
            "lr_scheduler_type=constant",
            "lora.dropout=0.1");
    Path metrics = out.resolve("metrics.jsonl");
    while (process.isAlive()
        && (!Files.exists(metrics) || Files.readAllLines(metrics).size() < 4)) {
      Thread.sleep(20);
    }
    assertEquals(
        0, new ProcessBuilder("kill", "-INT", String.valueOf(process.pid())).start().waitFor());
    assertEquals(
        130,
        process.waitFor(),
        () -> "-- standard error\n" + TrainingRuns.text(work.resolve("err")));
    List<String> checkpoints = TrainingRuns.names(out.resolve("checkpoints"));
    assertEquals(1, checkpoints.size(), checkpoints::toString);
    int step = Integer.parseInt(checkpoints.get(0).substring("step-".length()));
    String said = printed("err");
    assertTrue(said.contains("interrupted after step " + step) && said.contains("--resume"), said);
    assertEquals(
        List.of(), TrainingRuns.names(out).stream().filter(n -> n.equals("adapter")).toList());

    // Continued to two steps more, it is the run that nobody interrupted.
    Ran.run("sft", "--out", out, "--resume", "max_steps=" + (step + 2)).done();
    Path whole = work.resolve("whole");
    TrainingRuns.run(
            TrainingRuns.sft(work, whole),
            "lr_scheduler_type=constant",
            "lora.dropout=0.1",
            "max_steps=" + (step + 2))
        .done();
    assertSame(whole, out);
  }

  private static boolean interruptIsIgnored() throws IOException {
    Path status = Path.of("/proc/self/status");
    if (!Files.isReadable(status)) {
      return false;
    }
    return Files.readAllLines(status).stream()
        .filter(l -> l.startsWith("SigIgn:"))
        .anyMatch(l -> (Long.parseUnsignedLong(l.substring(7).strip(), 16) & 2) != 0);
  }

  @Test
  void aRunThatFailsSaysWhatWasSaved() throws Exception {
    Path out = work.resolve("run");
    List<Object> line = TrainingRuns.sft(work, out);
    TrainingRuns.run(line, "max_steps=2").done();
    // The event files cannot be written any more.
    Files.move(out.resolve("tensorboard"), work.resolve("away"));
    Files.writeString(out.resolve("tensorboard"), "in the way");
    Ran ran = Ran.run("sft", "--out", out, "--resume", "max_steps=4");
    assertEquals(1, ran.code(), ran::toString);
    assertTrue(ran.err().contains("rlhf4j: failed: "), ran::toString);
    assertTrue(ran.err().contains("checkpoints/step-2"), ran::toString);
    assertTrue(!ran.err().contains("\tat "), ran::toString);
    // With the cause gone it goes on.
    Files.delete(out.resolve("tensorboard"));
    Ran.run("sft", "--out", out, "--resume").done();
    assertEquals(4, TrainingRuns.lines(out.resolve("metrics.jsonl")).size());
  }

  @Test
  void aStackTraceOnlyForDebugging() {
    Ran.run("generate", "--model", work.resolve("gone"), "--prompt", "a").refused("gone");
    Ran ran =
        Ran.run(
            "generate", "--model", work.resolve("gone"), "--prompt", "a", "--log-level", "debug");
    assertEquals(2, ran.code());
    assertTrue(ran.err().contains("\tat org.rlhf4j"), ran::toString);
  }
}
