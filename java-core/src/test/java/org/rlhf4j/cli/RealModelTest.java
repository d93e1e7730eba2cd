package org.rlhf4j.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.rlhf4j.json.Json;
import org.rlhf4j.testing.Close;
import org.rlhf4j.testing.Golden;

/**
 * SmolLM2-135M-Instruct as a quantised GGUF file, against PyTorch on the same dequantised weights.
 */
class RealModelTest {
  @TempDir Path work;

  private final Path model = Golden.smolLm2();
  private final JsonNode cases = Golden.json("smollm2.json").get("cases");

  private Path ids(List<JsonNode> sequences) throws IOException {
    Path file = work.resolve("ids.json");
    Files.writeString(file, Json.MAPPER.writeValueAsString(Map.of("input_ids", sequences)));
    return file;
  }

  private List<JsonNode> prompts() {
    List<JsonNode> all = new ArrayList<>();
    cases.forEach(c -> all.add(c.get("prompt_ids")));
    return all;
  }

  /** Prompts with the greedy continuations, which golden has log-probabilities of. */
  private List<JsonNode> whole() {
    List<JsonNode> all = new ArrayList<>();
    for (JsonNode c : cases) {
      all.add(
          Json.MAPPER
              .createArrayNode()
              .addAll(list(c.get("prompt_ids")))
              .addAll(list(c.get("greedy_ids"))));
    }
    return all;
  }

  private static List<JsonNode> list(JsonNode array) {
    List<JsonNode> all = new ArrayList<>();
    array.forEach(all::add);
    return all;
  }

  @Test
  void greedyTokensInF32AreGolden() throws IOException {
    JsonNode got =
        Ran.json(
                "generate",
                "--model",
                model,
                "--dtype",
                "f32",
                "--ids",
                ids(prompts()),
                "--greedy",
                "--max-new-tokens",
                32)
            .get("sequences");
    for (int i = 0; i < cases.size(); i++) {
      JsonNode want = cases.get(i).get("greedy_ids");
      assertEquals(want, got.get(i).get("ids"), cases.get(i).get("user").asText());
      boolean ended = want.get(want.size() - 1).asInt() == 2;
      assertEquals(ended ? "eos" : "length", got.get(i).get("finish").asText());
    }
  }

  @Test
  void aQuestionIsRenderedAsTheModelWantsIt() {
    for (JsonNode c : cases) {
      JsonNode got =
          Ran.json(
                  "tokenize",
                  "--model",
                  model,
                  "--text",
                  c.get("user").asText(),
                  "--chat",
                  "--add-generation-prompt")
              .get("sequences")
              .get(0);
      assertEquals(c.get("text").asText(), got.get("text").asText());
      assertEquals(c.get("prompt_ids"), got.get("ids"));
    }
  }

  @Test
  void logprobsInF32AreGolden() throws IOException {
    check("f32", 1e-3);
  }

  /** Eight bits of mantissa through thirty layers: no token is far off, and the mean is near. */
  @Test
  void logprobsInBf16AreClose() throws IOException {
    double mean = check("bf16", 0.75);
    assertTrue(mean < 0.06, "mean difference " + mean);
  }

  /** The mean difference. */
  private double check(String dtype, double atol) throws IOException {
    JsonNode got =
        Ran.json("logprobs", "--model", model, "--dtype", dtype, "--ids", ids(whole()))
            .get("sequences");
    double sum = 0;
    int count = 0;
    for (int i = 0; i < cases.size(); i++) {
      JsonNode want = cases.get(i).get("logprobs");
      JsonNode found = got.get(i).get("logprobs");
      assertEquals(want.size(), found.size());
      for (int t = 1; t < want.size(); t++) {
        double a = found.get(t).doubleValue();
        double b = want.get(t).doubleValue();
        Close.check(dtype + " " + i + "[" + t + "]", a, b, atol, 0);
        sum += Math.abs(a - b);
        count++;
      }
    }
    return sum / count;
  }
}
