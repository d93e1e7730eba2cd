package org.rlhf4j.cli;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.nio.file.Path;
import java.util.Collections;
import java.util.List;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.rlhf4j.checkpoint.ModelFiles;
import org.rlhf4j.checkpoint.StoredTensor;
import org.rlhf4j.testing.Golden;

/** Every stage on models of other families than the one that the other tests have. */
class FamilyCommandsTest {
  @TempDir Path work;

  private static List<Object> on(Path model, List<Object> line) {
    Collections.replaceAll(line, TrainingRuns.MODEL, model);
    return line;
  }

  @ParameterizedTest
  @ValueSource(strings = {"gpt2", "qwen3", "mistral"})
  void alignment(String kind) throws IOException {
    Path model = Golden.path("models/" + kind);
    TrainingRuns.run(on(model, TrainingRuns.sft(work, work.resolve("sft")))).done();
    TrainingRuns.run(on(model, TrainingRuns.reward(work, work.resolve("reward")))).done();
    List<Object> ppo = on(model, TrainingRuns.ppo(work, work.resolve("ppo")));
    Collections.replaceAll(
        ppo, Golden.path("adapters/reward"), work.resolve("reward").resolve("adapter"));
    TrainingRuns.run(ppo, "--adapter", work.resolve("sft/adapter"), "max_steps=1").done();
    TrainingRuns.checkFolder(work.resolve("ppo"), "ppo", 1);
  }

  /** An adapter merged into its base says what both say together. */
  @ParameterizedTest
  @ValueSource(strings = {"gpt2", "qwen3"})
  void mergedAdapter(String kind) throws IOException {
    Path model = Golden.path("models/" + kind);
    TrainingRuns.run(on(model, TrainingRuns.sft(work, work.resolve("sft")))).done();
    Path adapter = work.resolve("sft/adapter");
    Path merged = work.resolve("merged");
    Ran.run("convert", "--model", model, "--adapter", adapter, "--out", merged).done();
    String[] prompt = {"--prompt", "Question 2: "};
    JsonNode both =
        Ran.json("logprobs", "--model", model, "--adapter", adapter, prompt[0], prompt[1]);
    JsonNode one = Ran.json("logprobs", "--model", merged, prompt[0], prompt[1]);
    JsonNode want = both.findValue("logprobs");
    JsonNode got = one.findValue("logprobs");
    assertTrue(want.size() > 5, both::toString);
    assertEquals(want.size(), got.size());
    for (int i = 0; i < want.size(); i++) {
      assertEquals(want.get(i).asDouble(), got.get(i).asDouble(), 1e-4);
    }
  }

  /** All weights trained: the folder has the tensors of the model that it began with. */
  @ParameterizedTest
  @ValueSource(strings = {"gpt2", "qwen3"})
  void allWeights(String kind) throws IOException {
    Path model = Golden.path("models/" + kind);
    TrainingRuns.run(
            on(model, TrainingRuns.sft(work, work.resolve("sft"))), "training=full", "max_steps=1")
        .done();
    Path trained = work.resolve("sft/model");
    try (ModelFiles before = ModelFiles.open(model);
        ModelFiles after = ModelFiles.open(trained)) {
      assertEquals(before.tensors().keySet(), after.tensors().keySet());
      for (StoredTensor tensor : before.tensors().values()) {
        assertArrayEquals(tensor.shape(), after.tensor(tensor.name()).shape(), tensor.name());
      }
    }
    Ran.json("generate", "--model", trained, "--prompt", "Question 1: ", "--greedy");
  }
}
