package org.rlhf4j.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.rlhf4j.cli.TrainingRuns.MODEL;
import static org.rlhf4j.cli.TrainingRuns.assertSame;
import static org.rlhf4j.cli.TrainingRuns.checkFolder;
import static org.rlhf4j.cli.TrainingRuns.lines;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.rlhf4j.checkpoint.SafetensorsFile;
import org.rlhf4j.testing.Close;
import org.rlhf4j.testing.Golden;

/**
 * sft, reward and ppo: the run folder is complete, its results are of use, runs are repeatable and
 * can be resumed.
 */
class TrainingCommandsTest {
  @TempDir Path work;

  private List<Object> line(String stage, Path out) throws IOException {
    return TrainingRuns.of(stage, work, out);
  }

  private Path out(String name) {
    return work.resolve(name);
  }

  @Test
  void sft() throws IOException {
    TrainingRuns.run(line("sft", out("run"))).done();
    checkFolder(out("run"), "sft", 4);
    Path adapter = out("run").resolve("adapter");
    assertEquals("adapter", Ran.json("inspect", adapter).get("kind").asText());
    Ran.json(
        "generate", "--model", MODEL, "--adapter", adapter, "--prompt", "Question 1: ", "--greedy");
    assertEquals(
        "checkpoint", Ran.json("inspect", out("run/checkpoints/step-4")).get("kind").asText());
    // Half of the tiny model's loss is gone on its own data.
    List<ObjectNode> metrics = lines(out("run/metrics.jsonl"));
    assertTrue(
        metrics.get(3).get("loss").asDouble() < metrics.get(0).get("loss").asDouble(),
        metrics::toString);
    // The report can be written again, and one for all stages of a folder.
    Files.delete(out("run/report.html"));
    Ran.run("report", out("run")).done();
    assertTrue(Files.size(out("run/report.html")) > 10_000);
    assertEquals(
        work.resolve("report.html").toString(), Ran.json("report", work).get("report").asText());
    Ran.run("report", adapter).refused("expected a run folder", adapter.toString());
    // PPO goes on from it.
    TrainingRuns.run(line("ppo", out("ppo")), "--adapter", adapter, "max_steps=1").done();
    checkFolder(out("ppo"), "ppo", 1);
  }

  @Test
  void sftOfAllWeights() throws IOException {
    TrainingRuns.run(line("full", out("run"))).done();
    checkFolder(out("run"), "sft", 4);
    Path model = out("run").resolve("model");
    Ran.json("generate", "--model", model, "--prompt", "Question 1: ", "--greedy");
    assertEquals(
        Ran.json("inspect", MODEL).get("parameters"), Ran.json("inspect", model).get("parameters"));
  }

  @Test
  void reward() throws IOException {
    TrainingRuns.run(line("reward", out("run"))).done();
    checkFolder(out("run"), "reward", 4);
    Path adapter = out("run").resolve("adapter");
    JsonNode scores =
        Ran.json(
            "score",
            "--model",
            MODEL,
            "--adapter",
            adapter,
            "--prompt",
            "hello",
            "--prompt",
            "world");
    assertEquals(2, scores.get("scores").size());
    TrainingRuns.run(line("ppo", out("ppo")), "reward_adapter=" + adapter, "max_steps=1").done();
  }

  @ParameterizedTest
  @ValueSource(strings = {"crlf", "bom", "blank-lines"})
  void unusualFilesAreRead(String kind) {
    Ran.run(
            "reward",
            "--model",
            MODEL,
            "--data",
            Golden.path("data/preference." + kind + ".jsonl"),
            "--out",
            out("run"),
            "max_steps=1",
            "--quiet")
        .done();
  }

  @Test
  void ppo() throws IOException {
    Ran ran = TrainingRuns.run(line("ppo", out("run")), "--json").done();
    JsonNode document = ran.document();
    assertEquals(out("run").toString(), document.get("out").asText());
    assertTrue(document.get("metrics").has("objective/kl"));
    checkFolder(out("run"), "ppo", 4);
    assertEquals(16, lines(out("run/rollouts.jsonl")).size());
    assertEquals(4, lines(out("run/samples.jsonl")).size());
    Path adapter = out("run").resolve("adapter");
    assertEquals(
        List.of("adapter_config.json", "adapter_model.safetensors", "value_head.safetensors"),
        TrainingRuns.names(adapter).stream().filter(n -> !n.endsWith(".md")).toList());
    try (SafetensorsFile head = SafetensorsFile.open(adapter.resolve("value_head.safetensors"))) {
      assertEquals(2, head.tensors().size());
      head.tensor("v_head.summary.weight");
      head.tensor("v_head.summary.bias");
    }
    Ran.json("logprobs", "--model", MODEL, "--adapter", adapter, "--prompt", "hello", "--values");
    // Its rollouts, as they are, are the input of a replay with the same scores and, at first, the
    // same KL.
    Ran.run(
            "ppo",
            "--model",
            MODEL,
            "--replay",
            out("run/rollouts.jsonl"),
            "--out",
            out("again"),
            "batch_size=4",
            "mini_batch_size=2",
            "ppo_epochs=2",
            "learning_rate=1e-3",
            "shuffle=false",
            "--quiet")
        .done();
    List<ObjectNode> first = lines(out("run/metrics.jsonl"));
    List<ObjectNode> again = lines(out("again/metrics.jsonl"));
    assertEquals(first.size(), again.size());
    Close.check(
        "scores",
        again.get(0).get("objective/scores").asDouble(),
        first.get(0).get("objective/scores").asDouble(),
        1e-6,
        1e-5);
    Close.check(
        "kl",
        again.get(0).get("objective/kl").asDouble(),
        first.get(0).get("objective/kl").asDouble(),
        1e-5,
        0);
  }

  @Test
  void replayOfGoldensRollouts() throws IOException {
    Ran ran = TrainingRuns.run(line("replay", out("run")), "reference=base").done();
    checkFolder(out("run"), "ppo", 2);
    ObjectNode first = lines(out("run/metrics.jsonl")).get(0);
    try (SafetensorsFile tensors = Golden.tensors("trainers/ppo_kl.safetensors")) {
      double kl = 0;
      for (float k : Golden.floats(tensors, "batch0.kl")) {
        kl += k;
      }
      Close.check("objective/kl", first.get("objective/kl").asDouble(), kl / 4, 1e-4, 1e-3);
      figure("objective/scores", first, Golden.floats(tensors, "batch0.scores"));
      figure("ppo/returns/mean", first, Golden.floats(tensors, "batch0.returns"));
      figure("ppo/advantages/mean", first, Golden.floats(tensors, "batch0.advantages"));
    }
    assertEquals("", ran.out());
    // Replayed again from its own record: the same run.
    Ran.run(
            "ppo",
            "--model",
            MODEL,
            "--replay",
            out("run/rollouts.jsonl"),
            "--adapter",
            Golden.path("trainers/ppo_kl.init"),
            "--out",
            out("again"),
            "--threads",
            2,
            "batch_size=4",
            "mini_batch_size=2",
            "learning_rate=1e-3",
            "shuffle=false",
            "reference=base")
        .done();
    assertSame(out("run"), out("again"));
  }

  private static void figure(String name, ObjectNode metrics, float[] golden) {
    double sum = 0;
    for (float x : golden) {
      sum += x;
    }
    Close.check(name, metrics.get(name).asDouble(), sum / golden.length, 1e-4, 1e-3);
  }

  /** The adapter of the replay has a value head: PPO made it, and auto holds it to the base. */
  @Test
  void thePolicyIsHeldToWhatItCameFrom() throws IOException {
    TrainingRuns.run(line("replay", out("adapter")), "reference=adapter").done();
    assertEquals(0, firstKl("adapter"), 1e-6);
    TrainingRuns.run(line("replay", out("base")), "reference=base").done();
    TrainingRuns.run(line("replay", out("auto"))).done();
    assertEquals(firstKl("base"), firstKl("auto"), 0);
  }

  private double firstKl(String run) throws IOException {
    return lines(out(run + "/metrics.jsonl")).get(0).get("objective/kl").asDouble();
  }

  @ParameterizedTest
  @ValueSource(strings = {"sft", "full", "reward", "ppo", "replay"})
  void theSameSeedGivesTheSameBytes(String stage) throws IOException {
    TrainingRuns.run(line(stage, out("one"))).done();
    TrainingRuns.run(line(stage, out("other")), "--quiet").done();
    assertSame(out("one"), out("other"));
  }

  @ParameterizedTest
  @ValueSource(strings = {"sft", "full", "reward", "ppo", "replay"})
  void aKilledRunIsResumedToTheSameBytes(String stage) throws IOException {
    TrainingRuns.run(line(stage, out("whole")), "save_steps=1", "save_total_limit=0").done();
    int killed = stage.equals("replay") ? 1 : 2;
    TrainingRuns.killedAfter(out("whole"), out("killed"), killed);
    Ran resumed = Ran.run(stage(stage), "--out", out("killed"), "--resume").done();
    assertTrue(resumed.err().contains("from step " + killed), resumed::toString);
    checkFolder(out("killed"), stage(stage), stage.equals("replay") ? 2 : 4);
    assertSame(out("whole"), out("killed"));
    // A finished run is left as it is.
    Ran.run(stage(stage), "--out", out("killed"), "--resume").done();
    assertSame(out("whole"), out("killed"));
  }

  private static String stage(String stage) {
    return stage.equals("full") ? "sft" : stage.equals("replay") ? "ppo" : stage;
  }

  @ParameterizedTest
  @ValueSource(strings = {"sft", "reward", "ppo"})
  void aRunThatIsMadeLongerIsTheLongRun(String stage) throws IOException {
    TrainingRuns.run(line(stage, out("whole")), "lr_scheduler_type=constant").done();
    List<Object> half = line(stage, out("half"));
    TrainingRuns.run(half, "lr_scheduler_type=constant", "max_steps=2").done();
    Ran ran = TrainingRuns.run(half, "lr_scheduler_type=constant", "--resume").done();
    assertTrue(ran.err().contains("max_steps: 4 now, 2 when the run began"), ran::toString);
    assertSame(out("whole"), out("half"));
  }

  @Test
  void aConfigurationFileIsTheSameAsItsKeys() throws IOException {
    TrainingRuns.run(line("sft", out("keys"))).done();
    Path yaml = work.resolve("sft.yaml");
    Files.writeString(
        yaml,
        "model: "
            + MODEL
            + "\ndata: "
            + work.resolve("sft.jsonl")
            + "\nbatch_size: 2\nmax_steps: 4\nlearning_rate: 1e-3\nthreads: 2\nlora:\n  r: 8\n");
    JsonNode document = Ran.json("sft", "--config", yaml, "--out", out("file"));
    assertEquals(
        4,
        document.get("metrics").get("step") == null
            ? 4
            : document.get("metrics").get("step").asInt());
    assertSame(out("keys"), out("file"));
    // And so is what a run says of itself.
    Ran.run("sft", "--config", out("file/config.yaml"), "--out", out("copy")).done();
    assertSame(out("keys"), out("copy"));
  }
}
