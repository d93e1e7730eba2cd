package org.rlhf4j.lora;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.function.Function;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.rlhf4j.InputException;
import org.rlhf4j.checkpoint.FloatType;
import org.rlhf4j.checkpoint.ModelFiles;
import org.rlhf4j.checkpoint.SafetensorsFile;
import org.rlhf4j.checkpoint.SafetensorsWriter;
import org.rlhf4j.checkpoint.StoredTensor;
import org.rlhf4j.checkpoint.TensorToWrite;
import org.rlhf4j.graph.Graph;
import org.rlhf4j.graph.Head;
import org.rlhf4j.graph.Parameters;
import org.rlhf4j.json.Json;
import org.rlhf4j.nn.CausalLm;
import org.rlhf4j.nn.ModelConfig;
import org.rlhf4j.nn.PackedBatch;
import org.rlhf4j.nn.Policy;
import org.rlhf4j.nn.RewardModel;
import org.rlhf4j.nn.families.Families;
import org.rlhf4j.tensor.DType;
import org.rlhf4j.tensor.Device;
import org.rlhf4j.tensor.Tensor;
import org.rlhf4j.testing.Close;
import org.rlhf4j.testing.Golden;
import org.rlhf4j.testing.TestDevice;

/** Adapters that PEFT wrote: what they do to a model, and that ours look the same. */
class GoldenAdaptersTest {
  @TempDir Path temp;
  private ModelFiles files;
  private Device device;
  private ModelConfig config;
  private CausalLm base;

  @BeforeEach
  void open() {
    files = ModelFiles.open(Golden.path("models/llama"));
    device = TestDevice.open();
    config = Families.config(files.config(), "models/llama");
    base = CausalLm.frozen(device, config, DType.F32, files::tensor);
  }

  @AfterEach
  void close() {
    if (base != null) {
      base.close();
      device.close();
      files.close();
    }
  }

  private LoraAdapter load(Path folder) {
    List<Parameters.Spec> heads = new ArrayList<>(Policy.valueHead(config));
    heads.addAll(RewardModel.scoreHead(config));
    return PeftAdapter.load(device, folder, CausalLm.modules(config), heads, Set.of(), false);
  }

  private static List<int[]> sequences() {
    List<int[]> all = new ArrayList<>();
    for (JsonNode row : Golden.json("adapters/golden.json").get("input_ids")) {
      int[] ids = new int[row.size()];
      for (int i = 0; i < ids.length; i++) {
        ids[i] = row.get(i).asInt();
      }
      all.add(ids);
    }
    return all;
  }

  private void checkLogits(CausalLm lm, LoraAdapter adapter, String name) {
    try (Graph g = Graph.inference(device);
        SafetensorsFile golden = Golden.tensors("adapters/golden.safetensors")) {
      PackedBatch batch = PackedBatch.of(g.scope(), sequences(), adapter);
      Tensor hidden = lm.hidden(g, batch).value();
      float[] logits = Head.logits(g, hidden, lm.head()).toFloats();
      int v = config.vocabSize();
      for (int b = 0; b < batch.sequences(); b++) {
        Close.check(
            name + ".logits." + b,
            Arrays.copyOfRange(logits, batch.starts()[b] * v, batch.starts()[b + 1] * v),
            Golden.floats(golden, name + ".logits." + b),
            1e-4,
            1e-3);
      }
    }
  }

  @Test
  void logitsWithTheAdapterOffAndOn() {
    try (LoraAdapter policy = load(Golden.path("adapters/policy"))) {
      checkLogits(base, null, "base");
      checkLogits(base, policy, "policy");
    }
  }

  @Test
  void logitsWithTheAdapterMerged() throws IOException {
    try (LoraAdapter policy = load(Golden.path("adapters/policy"))) {
      List<TensorToWrite> merged = new ArrayList<>();
      for (StoredTensor t : files.tensors().values()) {
        String module = t.name().replaceAll("\\.weight$", "");
        merged.add(
            policy.hasModule(module)
                ? new TensorToWrite(
                    t.name(), FloatType.F32, t.shape(), MergedTensor.of(t, policy, module))
                : TensorToWrite.of(t, FloatType.F32));
      }
      Path file = temp.resolve("merged.safetensors");
      SafetensorsWriter.write(file, merged);
      Function<String, StoredTensor> source;
      try (SafetensorsFile read = SafetensorsFile.open(file)) {
        source = read::tensor;
        try (CausalLm lm = CausalLm.frozen(device, config, DType.F32, source)) {
          checkLogits(lm, null, "policy");
        }
      }
    }
  }

  @Test
  void adaptersOfOneBatchDoNotMix() {
    try (LoraAdapter policy = load(Golden.path("adapters/policy"));
        Graph g = Graph.inference(device);
        SafetensorsFile golden = Golden.tensors("adapters/golden.safetensors")) {
      int[] ids = sequences().get(0);
      PackedBatch batch =
          PackedBatch.of(
              g.scope(),
              List.of(new PackedBatch.Sequence(ids, policy), new PackedBatch.Sequence(ids, null)));
      float[] logits = Head.logits(g, base.hidden(g, batch).value(), base.head()).toFloats();
      int half = logits.length / 2;
      Close.check(
          "policy",
          Arrays.copyOf(logits, half),
          Golden.floats(golden, "policy.logits.0"),
          1e-4,
          1e-3);
      Close.check(
          "base",
          Arrays.copyOfRange(logits, half, logits.length),
          Golden.floats(golden, "base.logits.0"),
          1e-4,
          1e-3);
    }
  }

  @Test
  void scoresAndValues() {
    try (LoraAdapter policy = load(Golden.path("adapters/policy"));
        LoraAdapter reward = load(Golden.path("adapters/reward"));
        SafetensorsFile golden = Golden.tensors("adapters/golden.safetensors")) {
      Close.check(
          "scores",
          new RewardModel(base, reward).score(sequences()),
          Golden.floats(golden, "reward.scores"),
          1e-4,
          1e-3);
      try (Graph g = Graph.inference(device)) {
        PackedBatch batch = PackedBatch.of(g.scope(), sequences(), policy);
        float[] values =
            new Policy(base, policy).values(g, base.hidden(g, batch)).value().toFloats();
        for (int b = 0; b < batch.sequences(); b++) {
          Close.check(
              "values." + b,
              Arrays.copyOfRange(values, batch.starts()[b], batch.starts()[b + 1]),
              Golden.floats(golden, "policy.values." + b),
              1e-4,
              1e-3);
        }
      }
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"policy", "reward"})
  void whatIsWrittenLooksAsPeftWroteIt(String name) throws IOException {
    Path golden = Golden.path("adapters/" + name);
    Path ours = Files.createDirectory(temp.resolve(name));
    boolean reward = name.equals("reward");
    List<Parameters.Spec> heads = reward ? RewardModel.scoreHead(config) : Policy.valueHead(config);
    try (LoraAdapter adapter =
        PeftAdapter.load(device, golden, CausalLm.modules(config), heads, Set.of(), false)) {
      PeftAdapter.save(
          adapter,
          reward ? PeftAdapter.Task.SEQ_CLS : PeftAdapter.Task.CAUSAL_LM,
          "models/llama",
          ours);
    }
    ObjectNode want = Json.readObject(golden.resolve("adapter_config.json"));
    ObjectNode got = Json.readObject(ours.resolve("adapter_config.json"));
    assertEquals(want, got);
    List<String> tensors = new ArrayList<>(List.of("adapter_model.safetensors"));
    if (!reward) {
      tensors.add("value_head.safetensors");
    }
    for (String file : tensors) {
      try (SafetensorsFile a = SafetensorsFile.open(golden.resolve(file));
          SafetensorsFile b = SafetensorsFile.open(ours.resolve(file))) {
        assertEquals(new TreeSet<>(a.tensors().keySet()), new TreeSet<>(b.tensors().keySet()));
        for (String tensor : a.tensors().keySet()) {
          assertArrayEquals(a.tensor(tensor).shape(), b.tensor(tensor).shape(), tensor);
          assertArrayEquals(Golden.floats(a, tensor), Golden.floats(b, tensor), tensor);
        }
      }
    }
  }

  @Test
  void anotherKindOfAdapterIsRefused() throws IOException {
    Path folder = Files.createDirectory(temp.resolve("ia3"));
    ObjectNode c = Json.readObject(Golden.path("adapters/policy/adapter_config.json"));
    c.put("peft_type", "IA3");
    Files.writeString(folder.resolve("adapter_config.json"), c.toString());
    InputException e = assertThrows(InputException.class, () -> load(folder));
    assertTrue(e.getMessage().contains("expected LORA"), e.getMessage());
    assertThrows(InputException.class, () -> load(temp.resolve("nowhere")));
  }
}
