package org.rlhf4j.cli;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.lang.foreign.ValueLayout;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import org.rlhf4j.checkpoint.SafetensorsFile;
import org.rlhf4j.checkpoint.StoredTensor;
import org.rlhf4j.json.Json;
import org.rlhf4j.testing.Close;
import org.rlhf4j.testing.Golden;
import org.rlhf4j.testing.Nf4Models;

/** {@code quantization} in every command that has it, on models that transformers quantised. */
class Nf4CommandsTest {
  @TempDir Path work;

  private JsonNode logits(Object... line) throws IOException {
    Path ids = work.resolve("ids.json");
    Files.writeString(
        ids,
        Json.MAPPER.writeValueAsString(Map.of("input_ids", Nf4Models.golden().get("input_ids"))));
    Object[] all =
        Stream.concat(Stream.of("logprobs", "--logits", "--ids", ids), Stream.of(line)).toArray();
    return Ran.json(all).get("sequences");
  }

  private static void same(JsonNode got, JsonNode want, double atol, double rtol) {
    assertEquals(want.size(), got.size());
    for (int s = 0; s < want.size(); s++) {
      JsonNode wanted = want.get(s).has("logits") ? want.get(s).get("logits") : want.get(s);
      for (int i = 0; i < wanted.size(); i++) {
        Close.check(
            "logits[" + s + "][" + i + "]",
            InferenceCommandsTest.floats(got.get(s).get("logits").get(i)),
            InferenceCommandsTest.floats(wanted.get(i)),
            atol,
            rtol);
      }
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"nf4", "nf4-double"})
  void answersAsTransformersDoes(String kind) throws IOException {
    same(
        logits("--model", Nf4Models.path(kind), "--dtype", "f32"),
        Nf4Models.golden().get("logits").get(kind),
        1e-4,
        1e-3);
  }

  @ParameterizedTest
  @CsvSource({"nf4, f32", "nf4, bf16", "nf4-double, f32", "nf4-double, bf16"})
  void quantisedAsItLoadsIsQuantisedBefore(String kind, String dtype) throws IOException {
    JsonNode before = logits("--model", Nf4Models.path(kind), "--dtype", dtype);
    JsonNode loading =
        logits("--model", Nf4Models.path("bf16"), "--dtype", dtype, "--quantization", kind);
    same(loading, before, 0, 0);
    // And it is something else than not to quantise.
    JsonNode plain = logits("--model", Nf4Models.path("bf16"), "--dtype", dtype);
    assertFalse(plain.equals(before));
  }

  @ParameterizedTest
  @ValueSource(strings = {"nf4", "nf4-double"})
  void dequantisedItAnswersTheSame(String kind) throws IOException {
    Path model = Nf4Models.path(kind);
    JsonNode quantised = logits("--model", model, "--dtype", "f32");
    JsonNode plain = logits("--model", model, "--dtype", "f32", "--quantization", "none");
    same(quantised, plain, 1e-5, 1e-5);
    Path out = work.resolve("plain");
    Ran.run("convert", "--model", model, "--dtype", "f32", "--quantization", "none", "--out", out)
        .done();
    same(logits("--model", out), plain, 0, 0);
    assertFalse(Json.readObject(out.resolve("config.json")).has("quantization_config"));
  }

  @ParameterizedTest
  @ValueSource(strings = {"nf4", "nf4-double"})
  void convertWritesWhatTransformersWrites(String kind) throws IOException {
    Path out = work.resolve("out");
    Ran.run("convert", "--model", Nf4Models.path("bf16"), "--quantization", kind, "--out", out)
        .done();
    sameFiles(Nf4Models.path(kind), out);
    Path again = work.resolve("again");
    Ran.run("convert", "--model", out, "--out", again).done();
    sameFiles(out, again);
  }

  @Test
  void kindsTurnIntoEachOther() throws IOException {
    Path nested = work.resolve("nested");
    Ran.run(
            "convert",
            "--model",
            Nf4Models.path("nf4"),
            "--quantization",
            "nf4-double",
            "--out",
            nested)
        .done();
    sameFiles(Nf4Models.path("nf4-double"), nested);
    Path plain = work.resolve("plain");
    Ran.run("convert", "--model", nested, "--quantization", "nf4", "--out", plain).done();
    assertEquals("nf4", Ran.json("inspect", plain).get("quantization").asText());
    same(
        logits("--model", plain, "--dtype", "f32"),
        logits("--model", nested, "--dtype", "f32"),
        1e-6,
        1e-6);
  }

  /** Weights bit for bit, and what the configuration says of them. */
  private static void sameFiles(Path want, Path got) {
    assertEquals(
        Json.readObject(want.resolve("config.json")).get("quantization_config"),
        Json.readObject(got.resolve("config.json")).get("quantization_config"));
    assertEquals(
        Json.readObject(want.resolve("config.json")).get("dtype"),
        Json.readObject(got.resolve("config.json")).get("dtype"));
    try (SafetensorsFile wanted = SafetensorsFile.open(want.resolve("model.safetensors"));
        SafetensorsFile found = SafetensorsFile.open(got.resolve("model.safetensors"))) {
      assertEquals(Set.copyOf(wanted.tensors().keySet()), Set.copyOf(found.tensors().keySet()));
      for (StoredTensor t : wanted.tensors().values()) {
        assertArrayEquals(t.shape(), found.tensor(t.name()).shape(), t.name());
        assertArrayEquals(
            t.bytes().toArray(ValueLayout.JAVA_BYTE),
            found.tensor(t.name()).bytes().toArray(ValueLayout.JAVA_BYTE),
            t.name());
      }
    }
  }

  /**
   * Merged in f32 as into the dequantised model; and quantised after that where it is asked for.
   */
  @Test
  void mergingIntoAQuantisedBaseDequantises() throws IOException {
    Path model = Golden.path("models/llama");
    Path policy = Golden.path("adapters/policy");
    Path base = work.resolve("base");
    Ran.run("convert", "--model", model, "--quantization", "nf4", "--out", base).done();
    Path merged = work.resolve("merged");
    Ran said = Ran.run("convert", "--model", base, "--adapter", policy, "--out", merged).done();
    assertTrue(said.err().contains("stored as nf4: it is dequantised"), said::toString);
    assertFalse(Ran.json("inspect", merged).has("quantization"));
    same(logits("--model", merged), logits("--model", base, "--adapter", policy), 1e-4, 1e-3);
    Path quantised = work.resolve("quantised");
    Ran.run(
            "convert",
            "--model",
            model,
            "--adapter",
            policy,
            "--quantization",
            "nf4-double",
            "--out",
            quantised)
        .done();
    Path both = work.resolve("both");
    Ran.run("convert", "--model", model, "--adapter", policy, "--out", both).done();
    same(
        logits("--model", quantised),
        logits("--model", both, "--quantization", "nf4-double"),
        0,
        0);
  }

  @Test
  void inspectShowsTheTruth() {
    JsonNode plain = Ran.json("inspect", Nf4Models.path("bf16"));
    JsonNode nf4 = Ran.json("inspect", Nf4Models.path("nf4"));
    JsonNode nested = Ran.json("inspect", Nf4Models.path("nf4-double"));
    assertFalse(plain.has("quantization"));
    assertEquals("nf4", nf4.get("quantization").asText());
    assertEquals("nf4-double", nested.get("quantization").asText());
    assertEquals(plain.get("parameters"), nf4.get("parameters"));
    assertEquals(7, nf4.get("tensors_by_type").get("NF4").asInt());
    assertEquals(7, nested.get("tensors_by_type").get("NF4_DOUBLE").asInt());
    // Embedding, head and norms in bf16; half a byte and a sixteenth of one for each other number.
    long numbers = (2 * 128 + 3) * 64;
    long matrices = plain.get("parameters").asLong() - numbers;
    assertEquals(2 * numbers + matrices / 2 + matrices / 16, nf4.get("bytes").asLong());
    // In the file itself the same tensors are seen.
    JsonNode file = Ran.json("inspect", Nf4Models.path("nf4").resolve("model.safetensors"));
    assertEquals(nf4.get("tensors_by_type"), file.get("tensors_by_type"));
  }

  @ParameterizedTest
  @ValueSource(strings = {"sft", "reward", "ppo"})
  void everyStageTrainsAnAdapterOnIt(String stage) throws IOException {
    Path out = work.resolve("run");
    List<Object> line =
        switch (stage) {
          case "sft" -> TrainingRuns.sft(work, out);
          case "reward" -> TrainingRuns.reward(work, out);
          default -> TrainingRuns.ppo(work, out);
        };
    TrainingRuns.run(line, "quantization=nf4-double").done();
    TrainingRuns.checkFolder(out, stage, 4);
    ObjectNode config = Json.readObject(out.resolve("adapter/adapter_config.json"));
    assertEquals("LORA", config.get("peft_type").asText());
    assertFalse(config.toString().contains("nf4"), "plain PEFT");
  }

  /** A replayed run: the same on a base that was quantised before, and close to the dequantised. */
  @Test
  void ppoOnRecordedRollouts() throws IOException {
    Path quantised = work.resolve("model");
    Ran.run("convert", "--model", TrainingRuns.MODEL, "--quantization", "nf4", "--out", quantised)
        .done();
    Path loading = work.resolve("loading");
    TrainingRuns.run(TrainingRuns.replay(work, loading), "quantization=nf4").done();
    Path before = work.resolve("before");
    TrainingRuns.run(onModel(TrainingRuns.replay(work, before), quantised)).done();
    TrainingRuns.assertSame(withoutBaseName(loading), withoutBaseName(before));
    Path plain = work.resolve("plain");
    TrainingRuns.run(onModel(TrainingRuns.replay(work, plain), quantised), "quantization=none")
        .done();
    List<ObjectNode> want = TrainingRuns.lines(plain.resolve("metrics.jsonl"));
    List<ObjectNode> got = TrainingRuns.lines(loading.resolve("metrics.jsonl"));
    for (int i = 0; i < want.size(); i++) {
      for (String name : List.of("objective/kl", "ppo/loss/policy", "ppo/loss/value", "loss")) {
        Close.check(
            name,
            got.get(i).get(name).doubleValue(),
            want.get(i).get(name).doubleValue(),
            1e-4,
            1e-3);
      }
    }
  }

  private static List<Object> onModel(List<Object> line, Path model) {
    List<Object> changed = new ArrayList<>(line);
    changed.set(changed.indexOf("--model") + 1, model);
    return changed;
  }

  /** The adapter's configuration names its base, in which the runs differ. */
  private static Path withoutBaseName(Path run) throws IOException {
    Path file = run.resolve("adapter/adapter_config.json");
    ObjectNode config = Json.readObject(file);
    config.remove("base_model_name_or_path");
    Files.writeString(file, config.toString());
    return run;
  }

  @Test
  void wrongInputIsRefused() throws IOException {
    Path model = Nf4Models.path("nf4");
    Ran.run("generate", "--model", model, "--ids", "x.json", "--quantization", "int4")
        .refused("int4", "auto, none, nf4, nf4-double");
    Ran.run("convert", "--model", model, "--quantization", "fp4", "--out", work.resolve("o"))
        .refused("fp4", "nf4-double");
    TrainingRuns.run(TrainingRuns.sft(work, work.resolve("a")), "training=full", "quantization=nf4")
        .refused("quantization", "training: full");
    TrainingRuns.run(onModel(TrainingRuns.sft(work, work.resolve("b")), model), "training=full")
        .refused("stored as nf4", "quantization: none");
    TrainingRuns.run(TrainingRuns.sft(work, work.resolve("c")), "quantization=nf3")
        .refused("quantization", "nf3");
  }
}
