package org.rlhf4j.nn;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import org.rlhf4j.InputException;
import org.rlhf4j.checkpoint.FloatType;
import org.rlhf4j.checkpoint.ModelFiles;
import org.rlhf4j.checkpoint.ModelFolderWriter;
import org.rlhf4j.checkpoint.SafetensorsFile;
import org.rlhf4j.checkpoint.StoredTensor;
import org.rlhf4j.generate.GenerationConfig;
import org.rlhf4j.generate.Generator;
import org.rlhf4j.graph.Graph;
import org.rlhf4j.json.Json;
import org.rlhf4j.lora.LoraAdapter;
import org.rlhf4j.lora.LoraConfig;
import org.rlhf4j.lora.MergedTensor;
import org.rlhf4j.lora.PeftAdapter;
import org.rlhf4j.nn.families.Families;
import org.rlhf4j.tensor.DType;
import org.rlhf4j.tensor.Device;
import org.rlhf4j.testing.Close;
import org.rlhf4j.testing.TestDevice;

/**
 * Families and options against transformers, on models that src/test/resources/families/generate.py
 * makes, and what is said about those that are not supported.
 */
class FamiliesTest {
  private static final Path FOLDER = Path.of("src/test/resources/families");

  private static ModelCase model(String name) {
    return new ModelCase(FOLDER.resolve(name), FOLDER.resolve(name).resolve("expected"));
  }

  @ParameterizedTest
  @ValueSource(strings = {"gemma3", "phi3", "qwen2", "llama", "gpt2_bare"})
  void logits(String name) {
    model(name).frozen(DType.F32, lm -> model(name).checkLogits(lm, null));
    model(name).trainable(DType.F32, lm -> model(name).checkLogits(lm, null));
  }

  @ParameterizedTest
  @ValueSource(strings = {"gemma3", "phi3", "qwen2", "llama", "gpt2_bare"})
  void logitsInBf16(String name) {
    model(name).frozen(DType.BF16, lm -> model(name).checkLogits(lm, null));
    model(name).trainable(DType.BF16, lm -> model(name).checkLogits(lm, null));
  }

  @ParameterizedTest
  @ValueSource(strings = {"gemma3", "phi3", "qwen2", "llama", "gpt2_bare"})
  void greedyContinuation(String name) {
    model(name).frozen(DType.F32, lm -> model(name).checkGreedyContinuation(lm, null));
  }

  @ParameterizedTest
  @ValueSource(strings = {"gemma3", "phi3", "qwen2", "llama", "gpt2_bare"})
  void lossAndGradients(String name) {
    model(name).trainable(DType.F32, lm -> model(name).checkLossAndGradients(lm, false));
    model(name).trainable(DType.F32, lm -> model(name).checkLossAndGradients(lm, true));
  }

  @ParameterizedTest
  @ValueSource(strings = {"gemma3", "phi3", "llama", "gpt2_bare"})
  void whatIsSavedIsWhatWasLoaded(String name, @TempDir Path out) {
    model(name)
        .trainable(
            DType.F32,
            lm -> {
              try {
                ModelFolderWriter.writeWeights(
                    out, ParameterFiles.tensors(lm, FloatType.F32), 100_000);
              } catch (IOException e) {
                throw new AssertionError(e);
              }
            });
    int compared = 0;
    try (ModelFiles before = ModelFiles.open(FOLDER.resolve(name));
        SafetensorsFile after = SafetensorsFile.open(out.resolve("model.safetensors"))) {
      for (StoredTensor saved : after.tensors().values()) {
        StoredTensor loaded = before.tensor(saved.name());
        assertArrayEquals(loaded.shape(), saved.shape(), saved.name());
        // One is added to norm weights and taken away again: half a unit in the last place of 1.
        Close.check(saved.name(), floats(saved), floats(loaded), 6e-8, 0);
        compared++;
      }
      assertEquals(before.tensors().size(), compared);
    }
  }

  private static float[] floats(StoredTensor t) {
    float[] values = new float[(int) t.elements()];
    t.read(0, values.length, values, 0);
    return values;
  }

  @ParameterizedTest
  @ValueSource(strings = {"gemma3", "phi3", "qwen2", "llama", "gpt2_bare"})
  void newModelsBeginNearUniform(String name) {
    try (ModelFiles files = ModelFiles.open(FOLDER.resolve(name));
        Device device = TestDevice.open();
        CausalLm lm =
            CausalLm.initialised(device, Families.config(files.config(), name), DType.F32, 3)) {
      assertEquals(lm.config().parameterCount(), lm.parameters().count());
      List<int[]> ids = List.of(new int[] {3, 1, 4, 1, 5});
      try (Graph g = Graph.inference(device)) {
        float[] hidden = lm.hidden(g, PackedBatch.of(g.scope(), ids, null)).value().toFloats();
        double squares = 0;
        for (float h : hidden) {
          squares += h * h;
        }
        assertEquals(1, squares / hidden.length, 0.05); // the last norm has weight one
      }
    }
  }

  // ---- adapters on matrices that are stored as [in, out]

  private static LoraAdapter gpt2Adapter(CausalLm lm) {
    return PeftAdapter.load(
        lm.device(),
        FOLDER.resolve("gpt2_bare/adapter"),
        CausalLm.modules(lm.config()),
        List.of(),
        Set.of(),
        true);
  }

  private static final ModelCase GPT2_WITH_ADAPTER =
      new ModelCase(FOLDER.resolve("gpt2_bare"), FOLDER.resolve("gpt2_bare/adapter/expected"));

  @Test
  void adapterOfGpt2(@TempDir Path out) throws IOException {
    GPT2_WITH_ADAPTER.frozen(
        DType.F32,
        lm -> {
          try (LoraAdapter adapter = gpt2Adapter(lm)) {
            GPT2_WITH_ADAPTER.checkLogits(lm, adapter);
            GPT2_WITH_ADAPTER.checkGreedyContinuation(lm, adapter);
            PeftAdapter.save(adapter, PeftAdapter.Task.CAUSAL_LM, "gpt2", out);
          } catch (IOException e) {
            throw new AssertionError(e);
          }
        });
    ObjectNode saved = Json.readObject(out.resolve("adapter_config.json"));
    assertTrue(saved.get("fan_in_fan_out").asBoolean());
  }

  @Test
  void adapterOfGpt2MergedIntoItsBase() {
    try (ModelFiles files = ModelFiles.open(FOLDER.resolve("gpt2_bare"));
        Device device = TestDevice.open()) {
      ModelConfig config = Families.config(files.config(), "gpt2");
      GPT2_WITH_ADAPTER.frozen(
          DType.F32,
          base -> {
            try (LoraAdapter adapter = gpt2Adapter(base);
                CausalLm merged =
                    CausalLm.frozen(
                        device, config, DType.F32, name -> merged(files, adapter, name))) {
              GPT2_WITH_ADAPTER.checkLogits(merged, null);
            }
          });
    }
  }

  private static StoredTensor merged(ModelFiles files, LoraAdapter adapter, String name) {
    StoredTensor w = files.tensor(name);
    String module = name.replaceAll("\\.weight$", "");
    return adapter.hasModule(module) ? new Overlaid(w, MergedTensor.of(w, adapter, module)) : w;
  }

  /** A tensor with other values. */
  private record Overlaid(StoredTensor inner, org.rlhf4j.checkpoint.FloatSource values)
      implements StoredTensor {
    @Override
    public String name() {
      return inner.name();
    }

    @Override
    public String storedType() {
      return "merged";
    }

    @Override
    public long[] shape() {
      return inner.shape();
    }

    @Override
    public long elements() {
      return inner.elements();
    }

    @Override
    public long byteSize() {
      return 4 * inner.elements();
    }

    @Override
    public java.lang.foreign.MemorySegment bytes() {
      throw new UnsupportedOperationException();
    }

    @Override
    public void read(long first, int count, float[] into, int offset) {
      values.read(first, count, into, offset);
    }

    @Override
    public void unload() {}
  }

  @ParameterizedTest
  @CsvSource({
    "gpt2_bare, c_attn;c_proj;c_fc",
    "phi3, qkv_proj;o_proj;gate_up_proj;down_proj",
    "gemma3, q_proj;k_proj;v_proj;o_proj;gate_proj;up_proj;down_proj"
  })
  void allLinearIsWhatTheFamilyCallsItsLayers(String name, String modules) {
    try (ModelFiles files = ModelFiles.open(FOLDER.resolve(name));
        Device device = TestDevice.open()) {
      ModelConfig config = Families.config(files.config(), name);
      try (LoraAdapter adapter =
          new LoraAdapter(
              device, LoraConfig.defaults(), CausalLm.modules(config), List.of(), true, 1)) {
        assertEquals(
            List.of(modules.split(";")),
            adapter.modules().keySet().stream()
                .map(m -> m.substring(m.lastIndexOf('.') + 1))
                .distinct()
                .toList());
        assertEquals(CausalLm.modules(config).size(), adapter.modules().size());
      }
    }
  }

  // ---- positions that end

  @ParameterizedTest
  @CsvSource({"gpt2_bare, 48", "phi3, 64"})
  void positionsEnd(String name, int limit) {
    model(name)
        .frozen(
            DType.F32,
            lm -> {
              assertEquals(limit, lm.config().maxPositions());
              try (Graph g = Graph.inference(lm.device())) {
                lm.hidden(g, PackedBatch.of(g.scope(), List.of(new int[limit]), null));
                PackedBatch longer = PackedBatch.of(g.scope(), List.of(new int[limit + 1]), null);
                String message =
                    assertThrows(InputException.class, () -> lm.hidden(g, longer)).getMessage();
                assertTrue(message.contains("positions for " + limit), message);
              }
              GenerationConfig tooMany = GenerationConfig.greedy(2, Set.of());
              assertThrows(
                  InputException.class,
                  () -> new Generator(lm).generate(List.of(new int[limit - 1]), null, tooMany));
            });
  }

  // ---- what is not supported

  private static ObjectNode config(String name) {
    return Json.readObject(FOLDER.resolve(name).resolve("config.json"));
  }

  private static void refused(ObjectNode config, String... words) {
    String message =
        assertThrows(InputException.class, () -> Families.config(config, "config.json"))
            .getMessage();
    for (String word : words) {
      assertTrue(message.contains(word), message + " names " + word);
    }
  }

  @Test
  void familiesThatAreNotSupported() {
    refused(
        config("llama").put("model_type", "bloom"),
        "config.json",
        "'bloom'",
        "[gemma3_text, gpt2, llama, mistral, phi3, qwen2, qwen3]");
    refused(config("gemma3").put("model_type", "gemma2"), "'gemma2'", "tanh", "gemma3_text");
    refused(config("llama").put("model_type", "mixtral"), "mixture of experts");
    ObjectNode nothing = config("llama");
    nothing.remove("model_type");
    refused(nothing, "model_type ''", "llama");
  }

  @Test
  void optionsThatAreNotSupported() {
    refused(config("llama").put("hidden_act", "relu"), "hidden_act", "'silu'", "relu");
    refused(config("gpt2_bare").put("activation_function", "relu"), "activation_function", "gelu");
    refused(config("gpt2_bare").put("scale_attn_weights", false), "scale_attn_weights", "true");
    refused(config("gpt2_bare").put("add_cross_attention", true), "add_cross_attention");
    refused(config("phi3").put("attention_bias", true), "attention_bias", "false");
    refused(config("gemma3").put("final_logit_softcapping", 30), "final_logit_softcapping", "30");
    refused(config("gemma3").put("use_bidirectional_attention", true), "bidirectional");
    refused(config("llama").put("num_key_value_heads", 3), "num_key_value_heads", "divisor");
    refused(config("llama").put("hidden_size", -1), "hidden_size", "positive");
    refused(config("llama").put("head_dim", 7), "head", "even");
    refused(config("llama").put("attention_bias", "yes"), "attention_bias", "true or false");

    ObjectNode dynamic = config("llama");
    ((ObjectNode) dynamic.get("rope_parameters")).put("rope_type", "dynamic");
    refused(dynamic, "rope_parameters: rope_type", "'yarn'", "dynamic");
    ObjectNode noFactor = config("llama");
    ((ObjectNode) noFactor.get("rope_parameters")).remove("factor");
    refused(noFactor, "rope_parameters: factor", "number", "nothing");
    ObjectNode few = config("phi3");
    ((ObjectNode) few.get("rope_parameters")).putArray("short_factor").add(1);
    refused(few, "short_factor", "6 numbers");
    ObjectNode layers = config("gemma3");
    layers.putArray("layer_types").add("full_attention");
    refused(layers, "layer_types", "4 names");
    ObjectNode chunked = config("gemma3");
    layers = chunked;
    ((com.fasterxml.jackson.databind.node.ArrayNode) chunked.get("layer_types"))
        .set(0, "chunked_attention");
    refused(layers, "layer_types", "chunked_attention");
  }

  /** As transformers 4 wrote them: another name for the type, and the base beside the object. */
  @Test
  void olderRopeKeys() {
    ObjectNode older = config("qwen2");
    ObjectNode scaling = (ObjectNode) older.remove("rope_parameters");
    older.put("rope_theta", scaling.remove("rope_theta").asDouble());
    scaling.set("type", scaling.remove("rope_type"));
    older.set("rope_scaling", scaling);
    assertArrayEquals(
        Families.config(config("qwen2"), "new").ropes().get(0).frequencies(),
        Families.config(older, "old").ropes().get(0).frequencies());
  }

  @Test
  void olderGemmaKeys() {
    ObjectNode older = config("gemma3");
    older.remove("rope_parameters");
    older.remove("layer_types");
    older.put("rope_theta", 1e6).put("rope_local_base_freq", 1e4).put("sliding_window_pattern", 3);
    older.putObject("rope_scaling").put("rope_type", "linear").put("factor", 8);
    ModelConfig wanted = Families.config(config("gemma3"), "new");
    ModelConfig got = Families.config(older, "old");
    assertEquals(wanted.perLayer(), got.perLayer());
    for (int i = 0; i < 2; i++) {
      assertArrayEquals(wanted.ropes().get(i).frequencies(), got.ropes().get(i).frequencies());
    }
  }
}
