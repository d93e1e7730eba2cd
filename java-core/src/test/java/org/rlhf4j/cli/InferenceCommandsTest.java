package org.rlhf4j.cli;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.rlhf4j.checkpoint.SafetensorsFile;
import org.rlhf4j.json.Json;
import org.rlhf4j.testing.Close;
import org.rlhf4j.testing.Golden;

/**
 * generate, logprobs, score, inspect, doctor and the program itself, as scripts call them, on the
 * golden models.
 */
class InferenceCommandsTest {
  @TempDir Path work;

  private final Path model = Golden.path("models/llama");

  /** Golden's JSON files hold input_ids as --ids reads them, and more. */
  private Path ids(JsonNode sequences) throws IOException {
    Path file = work.resolve("ids.json");
    Files.writeString(file, Json.MAPPER.writeValueAsString(Map.of("input_ids", sequences)));
    return file;
  }

  static float[] floats(JsonNode list) {
    float[] values = new float[list.size()];
    for (int i = 0; i < values.length; i++) {
      values[i] = list.get(i).floatValue();
    }
    return values;
  }

  /** log p of each token but the first, from golden's logits. */
  private static double[] logprobs(float[] logits, JsonNode ids, int vocabulary) {
    double[] found = new double[ids.size()];
    for (int i = 1; i < found.length; i++) {
      int row = (i - 1) * vocabulary;
      double largest = Double.NEGATIVE_INFINITY;
      for (int v = 0; v < vocabulary; v++) {
        largest = Math.max(largest, logits[row + v]);
      }
      double sum = 0;
      for (int v = 0; v < vocabulary; v++) {
        sum += Math.exp(logits[row + v] - largest);
      }
      found[i] = logits[row + ids.get(i).asInt()] - largest - Math.log(sum);
    }
    return found;
  }

  private static void checkSequence(JsonNode got, JsonNode ids, float[] logits) {
    int vocabulary = logits.length / ids.size();
    assertEquals(ids, got.get("ids"));
    JsonNode rows = got.get("logits");
    assertEquals(ids.size(), rows.size());
    for (int i = 0; i < rows.size(); i++) {
      Close.check(
          "logits[" + i + "]",
          floats(rows.get(i)),
          java.util.Arrays.copyOfRange(logits, i * vocabulary, (i + 1) * vocabulary),
          1e-4,
          1e-3);
    }
    double[] want = logprobs(logits, ids, vocabulary);
    double sum = 0;
    assertTrue(got.get("logprobs").get(0).isNull());
    for (int i = 1; i < want.length; i++) {
      Close.check(
          "logprobs[" + i + "]", got.get("logprobs").get(i).doubleValue(), want[i], 1e-3, 1e-3);
      sum += want[i];
    }
    Close.check("sum", got.get("sum").doubleValue(), sum, 1e-3, 1e-3);
    Close.check(
        "perplexity",
        got.get("perplexity").doubleValue(),
        Math.exp(-sum / (want.length - 1)),
        0,
        1e-3);
  }

  @ParameterizedTest
  @ValueSource(strings = {"llama", "llama_tied", "qwen2", "mistral"})
  void logprobsAndGreedyTokensAreGolden(String kind) throws IOException {
    Path folder = Golden.path("models/" + kind);
    JsonNode golden = Golden.json("models/" + kind + "/golden.json");
    JsonNode sequences = golden.get("input_ids");
    Path file = ids(sequences);
    JsonNode got =
        Ran.json("logprobs", "--model", folder, "--ids", file, "--logits").get("sequences");
    assertEquals(sequences.size(), got.size());
    try (SafetensorsFile tensors = Golden.tensors("models/" + kind + "/golden.safetensors")) {
      for (int i = 0; i < got.size(); i++) {
        checkSequence(got.get(i), sequences.get(i), Golden.floats(tensors, "logits." + i));
      }
    }
    JsonNode greedy = golden.get("greedy_ignoring_eos");
    int tokens = greedy.get(0).size();
    JsonNode generated =
        Ran.json(
                "generate",
                "--model",
                folder,
                "--ids",
                file,
                "--greedy",
                "--ignore-eos",
                "--max-new-tokens",
                tokens)
            .get("sequences");
    for (int i = 0; i < greedy.size(); i++) {
      assertEquals(sequences.get(i), generated.get(i).get("prompt_ids"));
      assertEquals(greedy.get(i), generated.get(i).get("ids"), kind + " " + i);
      assertEquals("length", generated.get(i).get("finish").asText());
    }
  }

  @Test
  void logprobsWithAdapterAndValues() throws IOException {
    JsonNode sequences = Golden.json("adapters/golden.json").get("input_ids");
    Path file = ids(sequences);
    Path policy = Golden.path("adapters/policy");
    JsonNode on =
        Ran.json(
                "logprobs",
                "--model",
                model,
                "--adapter",
                policy,
                "--ids",
                file,
                "--logits",
                "--values")
            .get("sequences");
    JsonNode off =
        Ran.json("logprobs", "--model", model, "--ids", file, "--logits").get("sequences");
    try (SafetensorsFile tensors = Golden.tensors("adapters/golden.safetensors")) {
      for (int i = 0; i < on.size(); i++) {
        checkSequence(on.get(i), sequences.get(i), Golden.floats(tensors, "policy.logits." + i));
        checkSequence(off.get(i), sequences.get(i), Golden.floats(tensors, "base.logits." + i));
        Close.check(
            "values",
            floats(on.get(i).get("values")),
            Golden.floats(tensors, "policy.values." + i),
            1e-4,
            1e-3);
      }
    }
  }

  @Test
  void logprobsInBf16AreClose() throws IOException {
    JsonNode sequences = Golden.json("models/llama/golden.json").get("input_ids");
    JsonNode got =
        Ran.json(
                "logprobs",
                "--model",
                model,
                "--ids",
                ids(sequences),
                "--logits",
                "--dtype",
                "bf16")
            .get("sequences");
    try (SafetensorsFile tensors = Golden.tensors("models/llama/golden.safetensors")) {
      for (int i = 0; i < got.size(); i++) {
        float[] want = Golden.floats(tensors, "logits." + i);
        JsonNode rows = got.get(i).get("logits");
        float[] flat = new float[want.length];
        int width = want.length / rows.size();
        for (int r = 0; r < rows.size(); r++) {
          System.arraycopy(floats(rows.get(r)), 0, flat, r * width, width);
        }
        Close.bf16("logits." + i, flat, want, 5e-2);
      }
    }
  }

  @Test
  void scoresAreGolden() throws IOException {
    JsonNode sequences = Golden.json("adapters/golden.json").get("input_ids");
    Path reward = Golden.path("adapters/reward");
    JsonNode got =
        Ran.json("score", "--model", model, "--adapter", reward, "--ids", ids(sequences));
    try (SafetensorsFile tensors = Golden.tensors("adapters/golden.safetensors")) {
      Close.check(
          "scores", floats(got.get("scores")), Golden.floats(tensors, "reward.scores"), 1e-4, 1e-3);
    }
  }

  @Test
  void dataAndPromptsAreInputsToo() throws IOException {
    Path queries = Golden.path("data/queries.jsonl");
    JsonNode generated =
        Ran.json("generate", "--model", model, "--data", queries, "--greedy", "--max-new-tokens", 2)
            .get("sequences");
    assertEquals(Files.readAllLines(queries).size(), generated.size());
    JsonNode chat =
        Ran.json(
            "generate",
            "--model",
            model,
            "--prompt",
            "hello",
            "--chat",
            "--system",
            "Be brief.",
            "--greedy",
            "--max-new-tokens",
            3);
    JsonNode rendered =
        Ran.json(
            "tokenize",
            "--model",
            model,
            "--text",
            "hello",
            "--chat",
            "--system",
            "Be brief.",
            "--add-generation-prompt");
    assertEquals(
        rendered.get("sequences").get(0).get("ids"),
        chat.get("sequences").get(0).get("prompt_ids"));
    assertTrue(chat.get("tokens_per_second").doubleValue() > 0);
    Path texts = work.resolve("texts.jsonl");
    Files.writeString(texts, "{\"text\": \"hello world\"}\n{\"text\": \"你好\"}\n");
    JsonNode two = Ran.json("logprobs", "--model", model, "--data", texts).get("sequences");
    assertEquals(2, two.size());
    JsonNode scores =
        Ran.json(
            "score",
            "--model",
            model,
            "--adapter",
            Golden.path("adapters/reward"),
            "--data",
            texts);
    assertEquals(2, scores.get("scores").size());
  }

  /** What the makers recommend is taken and said; flags go before it. */
  @Test
  void samplesAsTheModelsMakersSay() throws IOException {
    Path copy = Files.createDirectory(work.resolve("recommended"));
    try (var files = Files.list(Path.of(model.toString()))) {
      for (Path file : files.toList()) {
        Files.copy(file, copy.resolve(file.getFileName()));
      }
    }
    Path config = copy.resolve("generation_config.json");
    Files.writeString(
        config,
        "{\"do_sample\": true, \"temperature\": 0.6, \"top_k\": 20, \"repetition_penalty\": 1.1}");
    Object[] line = {"generate", "--model", copy, "--prompt", "hello", "--max-new-tokens", 8};
    Ran taken = Ran.run(line).done();
    assertTrue(
        taken.err().contains("generation_config.json: temperature 0.6, top_k 20 (flags"),
        taken::toString);
    assertTrue(taken.err().contains("repetition_penalty 1.1, which is not applied"), taken::err);
    Ran same = Ran.run(with(line, "--temperature", 0.6, "--top-k", 20)).done();
    assertEquals(same.out(), taken.out());
    assertFalse(same.err().contains("temperature"), same::err);

    Files.writeString(config, "{\"do_sample\": false, \"temperature\": 0.6}");
    Ran likeliest = Ran.run(line).done();
    assertTrue(likeliest.err().contains("generation_config.json: do_sample false"), likeliest::err);
    assertEquals(Ran.run(with(line, "--greedy")).done().out(), likeliest.out());
  }

  private static Object[] with(Object[] line, Object... more) {
    Object[] all = java.util.Arrays.copyOf(line, line.length + more.length);
    System.arraycopy(more, 0, all, line.length, more.length);
    return all;
  }

  @Test
  void samplingDependsOnTheSeedOnly() {
    Object[] line = {
      "generate",
      "--model",
      model,
      "--prompt",
      "hello",
      "--max-new-tokens",
      12,
      "--temperature",
      1.0,
      "--top-k",
      50,
      "--top-p",
      0.95,
      "--min-new-tokens",
      12,
      "--seed",
      7,
      "--json"
    };
    String first = Ran.run(line).done().document().get("sequences").toString();
    assertEquals(first, Ran.run(line).done().document().get("sequences").toString());
    line[16] = 8;
    assertFalse(first.equals(Ran.run(line).done().document().get("sequences").toString()));
  }

  @Test
  void textForPeople() {
    Ran generate =
        Ran.run(
                "generate",
                "--model",
                model,
                "--prompt",
                "hello",
                "--greedy",
                "--max-new-tokens",
                2)
            .done();
    assertTrue(generate.err().contains("tokens/s"), generate::toString);
    Ran quiet =
        Ran.run(
                "generate",
                "--model",
                model,
                "--prompt",
                "hello",
                "--greedy",
                "--max-new-tokens",
                2,
                "--quiet")
            .done();
    assertEquals("", quiet.err());
    assertEquals(generate.out(), quiet.out());
    assertTrue(
        Ran.run("logprobs", "--model", model, "--text", "hello")
            .done()
            .out()
            .contains("perplexity"));
  }

  @Test
  void inspectTellsKindAndSize() throws IOException {
    JsonNode m = Ran.json("inspect", model);
    assertEquals("model", m.get("kind").asText());
    assertEquals("llama", m.get("model_type").asText());
    long bytes = Files.size(model.resolve("model.safetensors"));
    assertTrue(m.get("bytes").asLong() <= bytes && m.get("bytes").asLong() > bytes - 10_000);
    assertEquals(m.get("bytes").asLong(), 4 * m.get("parameters").asLong());
    assertEquals(m, Ran.json("inspect", "--model", model));
    JsonNode policy = Ran.json("inspect", Golden.path("adapters/policy"), "--tensors");
    assertEquals("adapter", policy.get("kind").asText());
    assertTrue(policy.get("value_head").asBoolean());
    assertEquals(8, policy.get("config").get("r").asInt());
    assertEquals(28, policy.get("tensors").size());
    JsonNode file = Ran.json("inspect", model.resolve("model.safetensors"));
    assertEquals(m.get("parameters"), file.get("parameters"));
    assertTrue(Ran.run("inspect", model).done().out().contains("parameters: "));
  }

  @Test
  void doctorTestsEveryKernel() {
    JsonNode document = Ran.json("doctor");
    assertTrue(document.get("passed").asBoolean());
    assertTrue(document.get("tests").size() > 10);
    assertFalse(document.get("cuda").asText().isBlank());
    String text = Ran.run("doctor").done().out();
    assertTrue(text.contains("ok ") && text.contains("cuda   "), text);
  }

  @Test
  void helpAndVersion() {
    assertTrue(Ran.run("--version").done().out().startsWith("rlhf4j "));
    assertTrue(Ran.run("--help").done().out().contains("logprobs"));
    for (String command :
        "demo sft reward ppo generate logprobs score tokenize convert inspect doctor".split(" ")) {
      Ran help = Ran.run(command, "--help").done();
      assertTrue(help.out().contains("rlhf4j " + command), help::toString);
      assertEquals("", help.err());
    }
    assertArrayEquals(new int[] {2}, new int[] {Ran.run().code()});
  }
}
