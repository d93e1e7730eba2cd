package org.rlhf4j.nn;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.Function;
import java.util.stream.Collectors;
import org.rlhf4j.checkpoint.ModelFiles;
import org.rlhf4j.checkpoint.SafetensorsFile;
import org.rlhf4j.generate.Generation;
import org.rlhf4j.generate.GenerationConfig;
import org.rlhf4j.generate.Generator;
import org.rlhf4j.graph.GatherRows;
import org.rlhf4j.graph.Graph;
import org.rlhf4j.graph.Head;
import org.rlhf4j.graph.Var;
import org.rlhf4j.json.Json;
import org.rlhf4j.lora.LoraAdapter;
import org.rlhf4j.nn.families.Families;
import org.rlhf4j.tensor.DType;
import org.rlhf4j.tensor.Device;
import org.rlhf4j.testing.Close;
import org.rlhf4j.testing.Golden;
import org.rlhf4j.testing.TestDevice;

/**
 * A model, and what transformers makes of some sequences.
 *
 * @param model a folder or a GGUF file
 * @param expected path of the results, without ".json" and ".safetensors"
 */
record ModelCase(Path model, Path expected) {
  /** What is done with the model once it is loaded. */
  interface Body {
    void run(CausalLm lm);
  }

  void frozen(DType dtype, Body body) {
    load(dtype, false, body);
  }

  void trainable(DType dtype, Body body) {
    load(dtype, true, body);
  }

  private void load(DType dtype, boolean trainable, Body body) {
    try (ModelFiles files = ModelFiles.open(model);
        Device device = TestDevice.open()) {
      ModelConfig config = Families.config(files.config(), model.toString());
      try (CausalLm lm =
          trainable
              ? CausalLm.trainable(device, config, dtype, files::tensor)
              : CausalLm.frozen(device, config, dtype, files::tensor)) {
        body.run(lm);
      }
    }
  }

  private JsonNode facts() {
    return Json.readObject(Path.of(expected + ".json"));
  }

  private SafetensorsFile tensors() {
    return SafetensorsFile.open(Path.of(expected + ".safetensors"));
  }

  private List<int[]> sequences(String field) {
    List<int[]> all = new ArrayList<>();
    for (JsonNode row : facts().get(field)) {
      int[] ids = new int[row.size()];
      for (int i = 0; i < ids.length; i++) {
        ids[i] = row.get(i).asInt();
      }
      all.add(ids);
    }
    return all;
  }

  /** All sequences in one packed batch, through {@code adapter} or none. */
  void checkLogits(CausalLm lm, LoraAdapter adapter) {
    List<int[]> ids = sequences("input_ids");
    try (Graph g = Graph.inference(lm.device());
        SafetensorsFile tensors = tensors()) {
      PackedBatch batch = PackedBatch.of(g.scope(), ids, adapter);
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

  /** Token by token through the cache. */
  void checkGreedyContinuation(CausalLm lm, LoraAdapter adapter) {
    List<int[]> want = sequences("greedy_ignoring_eos");
    List<Generation> got =
        new Generator(lm)
            .generate(
                sequences("input_ids"),
                adapter,
                GenerationConfig.greedy(want.get(0).length, Set.of()));
    for (int b = 0; b < want.size(); b++) {
      assertArrayEquals(want.get(b), got.get(b).ids(), "sequence " + b);
    }
  }

  /** The mean cross entropy of all next tokens, and the gradients that the results name. */
  void checkLossAndGradients(CausalLm lm, boolean recompute) {
    List<int[]> ids = sequences("input_ids");
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
      Close.check("loss", loss[0] / loss[1], facts().get("loss").asDouble(), 0, 1e-4);
      g.backward();
    }
    Map<String, ModelParameter> parameters =
        lm.config().parameters().stream()
            .collect(Collectors.toMap(ModelParameter::name, Function.identity()));
    int checked = 0;
    try (SafetensorsFile tensors = tensors()) {
      for (String name : tensors.tensors().keySet()) {
        if (name.startsWith("grad.")) {
          String parameter = name.substring("grad.".length());
          float[] grad = lm.parameters().get(parameter).grad().toFloats();
          ModelParameter p = parameters.get(parameter);
          // A transposed matrix has a transposed gradient; a weight less one has the weight's.
          float[] stored =
              p.storedAs() == StoredAs.TRANSPOSED ? p.storedAs().write(grad, p.shape()) : grad;
          Close.gradient(name, stored, Golden.floats(tensors, name));
          checked++;
        }
      }
    }
    assertTrue(checked > 3, "the results name gradients");
  }
}
