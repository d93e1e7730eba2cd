package org.rlhf4j.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;
import static org.rlhf4j.cli.TrainingRuns.MODEL;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.rlhf4j.checkpoint.SafetensorsFile;
import org.rlhf4j.nn.KvCache;
import org.rlhf4j.tensor.Device;
import org.rlhf4j.testing.Close;
import org.rlhf4j.testing.Golden;
import org.rlhf4j.testing.TestDevice;

/**
 * The same command on the CPU and on another device: an emulated GPU, or the one that {@code
 * rlhf4j.test.device} names. Tolerances are golden's.
 */
class DevicesAgreeTest {
  @TempDir Path work;
  private static String other;

  @BeforeAll
  static void find() {
    other = TestDevice.other();
  }

  /** Two steps of each kind of training: all figures, the rollouts, and what was learned. */
  @ParameterizedTest
  @ValueSource(strings = {"sft", "full", "reward", "replay", "ppo"})
  void training(String stage) throws IOException {
    Path cpu = run(stage, "cpu", "--dtype", "f32");
    Path gpu = run(stage, other, "--dtype", "f32");
    Tolerance figures = new Tolerance(1e-5, 1e-3);
    same(cpu.resolve("metrics.jsonl"), gpu.resolve("metrics.jsonl"), figures);
    if (stage.equals("replay") || stage.equals("ppo")) {
      same(cpu.resolve("rollouts.jsonl"), gpu.resolve("rollouts.jsonl"), figures);
    }
    Path result = Path.of(stage.equals("full") ? "model" : "adapter");
    List<String> names =
        TrainingRuns.names(cpu.resolve(result)).stream()
            .filter(n -> n.endsWith(".safetensors"))
            .toList();
    assertEquals(stage.contains("p") ? 2 : 1, names.size(), names::toString);
    for (String name : names) {
      sameWeights(cpu.resolve(result).resolve(name), gpu.resolve(result).resolve(name));
    }
  }

  /** The first step of PPO, for which both devices have the same weights, in bf16. */
  @Test
  void trainingInBf16() throws IOException {
    Path cpu = run("replay", "cpu", "--dtype", "bf16", "max_steps=1");
    Path gpu = run("replay", other, "--dtype", "bf16", "max_steps=1");
    // bf16 keeps eight bits: 2^-8 for each rounding, of which a value here has seen dozens.
    same(cpu.resolve("metrics.jsonl"), gpu.resolve("metrics.jsonl"), new Tolerance(2e-2, 5e-2));
  }

  /** QLoRA: the base in four bits, whose codes are the same on both. */
  @Test
  void trainingOverNf4() throws IOException {
    Path cpu = run("replay", "cpu", "--dtype", "f32", "quantization=nf4-double");
    Path gpu = run("replay", other, "--dtype", "f32", "quantization=nf4-double");
    same(cpu.resolve("metrics.jsonl"), gpu.resolve("metrics.jsonl"), new Tolerance(1e-5, 1e-3));
  }

  /** A plan compares with the memory that tensors will be in, and what they take is the same. */
  @Test
  void plan() throws IOException {
    JsonNode cpu = plan("cpu");
    JsonNode gpu = plan(other);
    try (Device device = Device.named(other, 2)) {
      long total = device.capacity().orElseThrow().total();
      assertTrue(gpu.get("available").asLong() <= total, gpu::toString);
    }
    assertEquals(0, gpu.get("process").asLong(), "the process is not in the GPU's memory");
    assertTrue(cpu.get("process").asLong() > 0, cpu::toString);
    long weights = cpu.get("weights").asLong();
    assertEquals(weights, gpu.get("weights").asLong(), 0.1 * weights);
  }

  private JsonNode plan(String device) throws IOException {
    List<Object> line = new ArrayList<>(TrainingRuns.of("sft", work, work.resolve("plan")));
    line.add(0, "plan");
    line.addAll(List.of("--dtype", "f32"));
    return Ran.json(TrainingRuns.on(device, line).toArray()).get("memory");
  }

  private Path run(String stage, String device, Object... more) throws IOException {
    Path out = work.resolve(stage + "-" + device);
    List<Object> line = new ArrayList<>(TrainingRuns.of(stage, work, out));
    line.add("max_steps=2");
    TrainingRuns.run(TrainingRuns.on(device, line), more).done();
    return out;
  }

  @Test
  void logprobs() {
    Tolerance logits = new Tolerance(1e-4, 1e-3);
    same(
        "logprobs",
        logits,
        "--adapter",
        Golden.path("adapters/policy"),
        "--prompt",
        "one two three",
        "--logits",
        "--values");
  }

  @Test
  void score() {
    same(
        "score",
        new Tolerance(1e-4, 1e-3),
        "--adapter",
        Golden.path("adapters/reward"),
        "--prompt",
        "one two three");
  }

  @ParameterizedTest
  @ValueSource(strings = {"--greedy", "--temperature=0.9", "--top-k=20", "--top-p=0.8"})
  void generate(String sampling) {
    same(
        "generate",
        new Tolerance(0, 0),
        "--prompt",
        "The weather",
        "--max-new-tokens",
        "8",
        sampling);
  }

  /**
   * Sequences of different lengths that end at different times, decoded beyond a page of the cache:
   * the same tokens, though most steps are launches of a recording with rows that nobody asked for.
   */
  @Test
  void recordedDecoding() throws Exception {
    int tokens = KvCache.PAGE + 6;
    Path ids = work.resolve("ids.json");
    Files.writeString(ids, "{\"input_ids\":[[5,6,7],[8],[9,10,11,12,13],[14,15],[16,17,18,19]]}");
    Object[] line = {"--ids", ids, "--max-new-tokens", tokens, "--min-new-tokens", 3};
    same("generate", new Tolerance(0, 0), line);

    assumeTrue(other.startsWith("emulated"), "the emulated driver alone counts launches");
    Path launches = work.resolve("launches");
    List<Object> command =
        List.of("generate", "--model", MODEL, "--dtype", "f32", "--device", other, "--json");
    Process process =
        ProcessTest.start(
            work, Map.of("RLHF4J_EMULATOR_LAUNCHES", launches.toString()), command, line);
    assertEquals(0, process.waitFor(), () -> TrainingRuns.text(work.resolve("err")));
    int recorded =
        TrainingRuns.text(launches)
            .lines()
            .filter(l -> l.endsWith(" graph"))
            .mapToInt(l -> Integer.parseInt(l.split(" ")[0]))
            .sum();
    assertTrue(recorded > tokens / 2, () -> TrainingRuns.text(launches));
  }

  private record Tolerance(double absolute, double relative) {}

  private static void same(String command, Tolerance tolerance, Object... more) {
    List<Object> line = new ArrayList<>(List.of(command, "--model", MODEL, "--dtype", "f32"));
    line.addAll(List.of(more));
    line.add("--device");
    line.add("cpu");
    ObjectNode cpu = (ObjectNode) Ran.json(line.toArray());
    line.set(line.size() - 1, other);
    ObjectNode gpu = (ObjectNode) Ran.json(line.toArray());
    cpu.remove("tokens_per_second");
    gpu.remove("tokens_per_second");
    same(command, cpu, gpu, tolerance);
  }

  private static void same(Path cpu, Path gpu, Tolerance tolerance) {
    List<ObjectNode> want = TrainingRuns.timeless(cpu);
    List<ObjectNode> got = TrainingRuns.timeless(gpu);
    assertEquals(want.size(), got.size());
    assertTrue(!want.isEmpty());
    for (int i = 0; i < want.size(); i++) {
      same(cpu.getFileName() + ":" + (i + 1), want.get(i), got.get(i), tolerance);
    }
  }

  /** Numbers with a fraction are close; all else is equal, whole numbers (ids, counts) too. */
  private static void same(String what, JsonNode want, JsonNode got, Tolerance tolerance) {
    if (want.isContainerNode()) {
      assertEquals(want.size(), got.size(), what);
      for (int i = 0; want.isArray() && i < want.size(); i++) {
        same(what + "[" + i + "]", want.get(i), got.get(i), tolerance);
      }
      want.properties()
          .forEach(
              e -> same(what + " " + e.getKey(), e.getValue(), got.path(e.getKey()), tolerance));
    } else if (want.isFloatingPointNumber()) {
      Close.check(what, got.asDouble(), want.asDouble(), tolerance.absolute, tolerance.relative);
    } else {
      assertEquals(want, got, what);
    }
  }

  private static void sameWeights(Path cpu, Path gpu) {
    try (SafetensorsFile want = SafetensorsFile.open(cpu);
        SafetensorsFile got = SafetensorsFile.open(gpu)) {
      assertEquals(want.tensors().keySet(), got.tensors().keySet());
      for (String name : want.tensors().keySet()) {
        Close.check(name, Golden.floats(got, name), Golden.floats(want, name), 2e-4, 0);
      }
    }
  }
}
