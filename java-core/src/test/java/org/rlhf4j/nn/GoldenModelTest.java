package org.rlhf4j.nn;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Set;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.rlhf4j.checkpoint.ConvertedTensor;
import org.rlhf4j.checkpoint.ModelFiles;
import org.rlhf4j.checkpoint.SafetensorsFile;
import org.rlhf4j.generate.Generation;
import org.rlhf4j.generate.GenerationConfig;
import org.rlhf4j.generate.Generator;
import org.rlhf4j.graph.GatherRows;
import org.rlhf4j.graph.Graph;
import org.rlhf4j.graph.Head;
import org.rlhf4j.graph.Parameter;
import org.rlhf4j.graph.Var;
import org.rlhf4j.nn.families.Families;
import org.rlhf4j.tensor.DType;
import org.rlhf4j.tensor.Device;
import org.rlhf4j.testing.Close;
import org.rlhf4j.testing.Golden;

/** Whole models against transformers: logits, greedy continuations, the loss and its gradients. */
class GoldenModelTest {
  private static List<int[]> sequences(JsonNode json, String field) {
    List<int[]> all = new ArrayList<>();
    for (JsonNode row : json.get(field)) {
      int[] ids = new int[row.size()];
      for (int i = 0; i < ids.length; i++) {
        ids[i] = row.get(i).asInt();
      }
      all.add(ids);
    }
    return all;
  }

  private interface Body {
    void run(CausalLm lm, JsonNode golden, SafetensorsFile tensors);
  }

  private static void with(String kind, DType dtype, boolean trainable, Body body) {
    String folder = "models/" + kind;
    try (ModelFiles files = ModelFiles.open(Golden.path(folder));
        Device device = Device.cpu(2);
        SafetensorsFile tensors = Golden.tensors(folder + "/golden.safetensors")) {
      ModelConfig config = Families.config(files.config(), folder);
      try (CausalLm lm =
          trainable
              ? CausalLm.trainable(device, config, dtype, files::tensor)
              : CausalLm.frozen(device, config, dtype, files::tensor)) {
        body.run(lm, Golden.json(folder + "/golden.json"), tensors);
      }
    }
  }

  private static void checkLogits(CausalLm lm, JsonNode golden, SafetensorsFile tensors) {
    List<int[]> ids = sequences(golden, "input_ids");
    try (Graph g = Graph.inference(lm.device())) {
      PackedBatch batch = PackedBatch.of(g.scope(), ids, null);
      Var hidden = lm.hidden(g, batch);
      float[] logits = Head.logits(g, hidden.value(), lm.head()).toFloats();
      int v = lm.config().vocabSize();
      for (int b = 0; b < ids.size(); b++) {
        float[] got = Arrays.copyOfRange(logits, batch.starts()[b] * v, batch.starts()[b + 1] * v);
        float[] want = Golden.floats(tensors, "logits." + b);
        if (lm.dtype() == DType.BF16) {
          Close.bf16("logits." + b, got, want, 5e-2);
        } else {
          Close.check("logits." + b, got, want, 1e-4, 1e-3);
        }
      }
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"llama", "llama_tied", "mistral", "qwen2", "qwen3", "gpt2"})
  void logits(String kind) {
    with(kind, DType.F32, false, GoldenModelTest::checkLogits);
  }

  @ParameterizedTest
  @ValueSource(strings = {"llama", "llama_tied", "mistral", "qwen2", "qwen3", "gpt2"})
  void logitsInBf16(String kind) {
    with(kind, DType.BF16, false, GoldenModelTest::checkLogits);
  }

  @ParameterizedTest
  @ValueSource(strings = {"llama", "llama_tied", "mistral", "qwen2", "qwen3", "gpt2"})
  void greedyContinuation(String kind) {
    with(
        kind,
        DType.F32,
        false,
        (lm, golden, tensors) -> {
          List<int[]> want = sequences(golden, "greedy_ignoring_eos");
          List<Generation> got =
              new Generator(lm)
                  .generate(
                      sequences(golden, "input_ids"),
                      null,
                      GenerationConfig.greedy(want.get(0).length, Set.of()));
          for (int b = 0; b < want.size(); b++) {
            assertArrayEquals(want.get(b), got.get(b).ids(), "sequence " + b);
          }
        });
  }

  @ParameterizedTest
  @ValueSource(strings = {"llama", "llama_tied", "mistral", "qwen2", "qwen3", "gpt2"})
  void lossAndGradients(String kind) {
    with(
        kind, DType.F32, true, (lm, golden, tensors) -> checkGradients(lm, golden, tensors, false));
  }

  @ParameterizedTest
  @ValueSource(strings = {"llama", "llama_tied"})
  void gradientsWithRecomputedActivations(String kind) {
    with(kind, DType.F32, true, (lm, golden, tensors) -> checkGradients(lm, golden, tensors, true));
  }

  private static void checkGradients(
      CausalLm lm, JsonNode golden, SafetensorsFile tensors, boolean recompute) {
    List<int[]> ids = sequences(golden, "input_ids");
    try (Graph g = Graph.training(lm.device())) {
      PackedBatch batch = PackedBatch.of(g.scope(), ids, null);
      List<Integer> rows = new ArrayList<>();
      List<Integer> targets = new ArrayList<>();
      for (int b = 0; b < ids.size(); b++) {
        for (int i = 1; i < ids.get(b).length; i++) {
          rows.add(batch.starts()[b] + i - 1);
          targets.add(ids.get(b)[i]);
        }
      }
      int[] r = rows.stream().mapToInt(i -> i).toArray();
      int[] t = targets.stream().mapToInt(i -> i).toArray();
      Var hidden = GatherRows.apply(g, lm.hidden(g, batch, recompute), g.scope().of(r));
      float[] loss =
          Head.crossEntropy(g, hidden, lm.head(), lm.headGrad(), g.scope().of(t), 1f / t.length)
              .toFloats();
      Close.check("loss", loss[0] / loss[1], golden.get("loss").asDouble(), 0, 1e-4);
      g.backward();
    }
    int checked = 0;
    for (String name : tensors.tensors().keySet()) {
      if (name.startsWith("grad.")) {
        Close.gradient(
            name, gradient(lm, name.substring("grad.".length())), Golden.floats(tensors, name));
        checked++;
      }
    }
    assertTrue(checked > 3, "golden names gradients");
  }

  /** A parameter's gradient in the orientation that checkpoints store it in. */
  private static float[] gradient(CausalLm lm, String name) {
    Parameter p = lm.parameters().get(name);
    float[] grad = p.grad().toFloats();
    return lm.config().block().transposed() && p.grad().rank() > 1 && name.contains(".h.")
        ? ConvertedTensor.transpose(grad, p.grad().shape())
        : grad;
  }
}
