package org.rlhf4j.lora;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.net.URISyntaxException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.SplittableRandom;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.function.Function;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;
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
import org.rlhf4j.graph.Parameter;
import org.rlhf4j.graph.Parameters;
import org.rlhf4j.json.Json;
import org.rlhf4j.nn.CausalLm;
import org.rlhf4j.nn.ModelConfig;
import org.rlhf4j.nn.PackedBatch;
import org.rlhf4j.nn.RewardModel;
import org.rlhf4j.nn.families.Families;
import org.rlhf4j.tensor.DType;
import org.rlhf4j.tensor.Device;
import org.rlhf4j.testing.Close;
import org.rlhf4j.testing.TestDevice;

/** What PEFT made (src/test/resources/peft/generate.py), read and written by us. */
class PeftTest {
  private static Path resources;
  private static ModelFiles files;
  private static Device device;
  private static ModelConfig config;
  private static CausalLm base;

  @TempDir Path temp;

  @BeforeAll
  static void open() throws URISyntaxException {
    resources = Path.of(PeftTest.class.getResource("/peft").toURI());
    files = ModelFiles.open(resources.resolve("base"));
    device = TestDevice.open();
    config = Families.config(files.config(), "base");
    base = CausalLm.frozen(device, config, DType.F32, files::tensor);
  }

  @AfterAll
  static void close() {
    base.close();
    device.close();
    files.close();
  }

  private static LoraAdapter load(Path folder) {
    return PeftAdapter.load(
        device, folder, CausalLm.modules(config), RewardModel.scoreHead(config), Set.of(), false);
  }

  private static List<int[]> sequences() {
    List<int[]> all = new ArrayList<>();
    for (JsonNode row : Json.readObject(resources.resolve("ids.json")).get("input_ids")) {
      all.add(Json.MAPPER.convertValue(row, int[].class));
    }
    return all;
  }

  private static float[] floats(StoredTensor tensor) {
    float[] values = new float[(int) tensor.elements()];
    tensor.read(0, values.length, values, 0);
    return values;
  }

  /** f32 model logits: the tolerance of the golden models. */
  private static void checkLogits(CausalLm lm, LoraAdapter adapter, String name) {
    try (Graph g = Graph.inference(device);
        SafetensorsFile expected =
            SafetensorsFile.open(resources.resolve("expected.safetensors"))) {
      PackedBatch batch = PackedBatch.of(g.scope(), sequences(), adapter);
      float[] logits = Head.logits(g, lm.hidden(g, batch).value(), lm.head()).toFloats();
      int v = config.vocabSize();
      for (int b = 0; b < batch.sequences(); b++) {
        Close.check(
            name + "." + b,
            Arrays.copyOfRange(logits, batch.starts()[b] * v, batch.starts()[b + 1] * v),
            floats(expected.tensor(name + "." + b)),
            1e-4,
            1e-3);
      }
    }
  }

  // ---- matching

  static Stream<JsonNode> matching() {
    List<JsonNode> cases = new ArrayList<>();
    Json.readObject(Path.of(PeftTest.class.getResource("/peft/matching.json").getPath()))
        .get("cases")
        .forEach(cases::add);
    return cases.stream();
  }

  @ParameterizedTest
  @MethodSource("matching")
  void modulesRanksAndScalesAreThoseOfPeft(JsonNode given) throws IOException {
    LoraConfig lora = PeftAdapter.readConfig(folder(given.get("config")));
    given
        .get("modules")
        .fields()
        .forEachRemaining(
            e -> {
              String module = e.getKey();
              assertEquals(!e.getValue().isNull(), lora.targets().select(module), module);
              if (!e.getValue().isNull()) {
                assertEquals(e.getValue().get(0).asInt(), lora.rankOf(module), module);
                assertEquals((float) e.getValue().get(1).asDouble(), lora.scaleOf(module), module);
              }
            });
  }

  @Test
  void allLinearIsEveryLayerThatCanHaveAnAdapter() {
    JsonNode found = Json.readObject(resources.resolve("matching.json")).get("all_linear");
    TreeSet<String> modules = new TreeSet<>();
    CausalLm.modules(config).forEach(m -> modules.add(m.name()));
    for (String kind : List.of("llama", "llama_score")) {
      TreeSet<String> want = new TreeSet<>();
      found.get(kind).forEach(n -> want.add(n.asText()));
      assertEquals(want, modules, kind);
    }
    assertTrue(modules.stream().allMatch(ModulePattern.ofText("All-Linear")::matches));
  }

  private Path folder(JsonNode json) throws IOException {
    Path folder = Files.createTempDirectory(temp, "adapter");
    Files.writeString(folder.resolve("adapter_config.json"), json.toString());
    return folder;
  }

  // ---- loading, saving, merging

  @ParameterizedTest
  @ValueSource(strings = {"patterns", "regex", "all_linear", "layers", "old"})
  void adaptersGiveWhatTheyGiveInPeft(String name) {
    try (LoraAdapter adapter = load(resources.resolve(name))) {
      checkLogits(base, adapter, name);
    }
  }

  @Test
  void scoresAreThoseOfPeft() {
    try (LoraAdapter adapter = load(resources.resolve("score"));
        SafetensorsFile expected =
            SafetensorsFile.open(resources.resolve("expected.safetensors"))) {
      float[] scores = new RewardModel(base, adapter).score(sequences());
      for (int b = 0; b < scores.length; b++) {
        Close.check("score." + b, scores[b], floats(expected.tensor("score." + b))[0], 1e-4, 1e-3);
      }
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"patterns", "regex", "all_linear", "layers", "old"})
  void mergedAdaptersGiveTheSame(String name) throws IOException {
    Path file = temp.resolve("merged.safetensors");
    try (LoraAdapter adapter = load(resources.resolve(name))) {
      List<TensorToWrite> merged = new ArrayList<>();
      for (StoredTensor t : files.tensors().values()) {
        String module = t.name().replaceAll("\\.weight$", "");
        merged.add(
            adapter.hasModule(module)
                ? new TensorToWrite(
                    t.name(), FloatType.F32, t.shape(), MergedTensor.of(t, adapter, module))
                : TensorToWrite.of(t, FloatType.F32));
      }
      SafetensorsWriter.write(file, merged);
    }
    try (SafetensorsFile read = SafetensorsFile.open(file)) {
      Function<String, StoredTensor> source = read::tensor;
      try (CausalLm lm = CausalLm.frozen(device, config, DType.F32, source)) {
        checkLogits(lm, null, name);
      }
    }
  }

  @Test
  void anyRangeOfAMergedMatrixIsTheSame() {
    try (LoraAdapter adapter = load(resources.resolve("patterns"))) {
      String module = "model.layers.1.mlp.down_proj";
      StoredTensor w = files.tensor(module + ".weight"); // [32, 48]
      float[] a = adapter.a(module).value().toFloats();
      float[] b = adapter.b(module).value().toFloats();
      int r = adapter.config().rankOf(module);
      double[] want = new double[32 * 48];
      float[] stored = floats(w);
      for (int i = 0; i < want.length; i++) {
        double sum = 0;
        for (int k = 0; k < r; k++) {
          sum += (double) b[i / 48 * r + k] * a[k * 48 + i % 48];
        }
        want[i] = stored[i] + adapter.config().scaleOf(module) * sum;
      }
      SplittableRandom random = new SplittableRandom(3);
      for (int round = 0; round < 50; round++) {
        int first = random.nextInt(want.length);
        int count = random.nextInt(want.length - first) + 1;
        int offset = random.nextInt(5);
        float[] got = new float[offset + count];
        MergedTensor.of(w, adapter, module).read(first, count, got, offset);
        for (int i = 0; i < count; i++) {
          // One rounding for the product's few terms each, at values of about 1.
          assertEquals(want[first + i], got[offset + i], 1e-5, first + "+" + i);
        }
      }
    }
  }

  @ParameterizedTest
  @CsvSource({"patterns,CAUSAL_LM", "regex,CAUSAL_LM", "layers,CAUSAL_LM", "score,SEQ_CLS"})
  void whatIsSavedIsWhatPeftSaved(String name, PeftAdapter.Task task) throws IOException {
    Path ours = Files.createDirectory(temp.resolve(name));
    boolean score = task == PeftAdapter.Task.SEQ_CLS;
    try (LoraAdapter adapter =
        PeftAdapter.load(
            device,
            resources.resolve(name),
            CausalLm.modules(config),
            score ? RewardModel.scoreHead(config) : List.of(),
            Set.of(),
            false)) {
      PeftAdapter.save(adapter, task, "base", ours);
    }
    ObjectNode want = Json.readObject(resources.resolve(name + "/adapter_config.json"));
    ObjectNode got = Json.readObject(ours.resolve("adapter_config.json"));
    if (name.equals("layers")) {
      assertEquals("[\"layers\"]", got.remove("layers_pattern").toString()); // PEFT: or a string
      want.remove("layers_pattern");
    }
    if (name.equals("score")) {
      want.putArray("modules_to_save").add("classifier").add("score"); // PEFT's own default
    }
    // 4.0 and 4 are one number.
    assertTrue(
        want.equals(
            (a, b) ->
                a.isNumber() && b.isNumber() && a.doubleValue() == b.doubleValue()
                    ? 0
                    : a.equals(b) ? 0 : 1,
            got),
        want + "\n" + got);
    try (SafetensorsFile a =
            SafetensorsFile.open(resources.resolve(name + "/adapter_model.safetensors"));
        SafetensorsFile b = SafetensorsFile.open(ours.resolve("adapter_model.safetensors"))) {
      assertEquals(new TreeMap<>(a.tensors()).keySet(), new TreeMap<>(b.tensors()).keySet());
      for (String tensor : a.tensors().keySet()) {
        assertArrayEquals(a.tensor(tensor).shape(), b.tensor(tensor).shape(), tensor);
        assertArrayEquals(floats(a.tensor(tensor)), floats(b.tensor(tensor)), tensor);
      }
    }
  }

  /** Any configuration that we can have comes back from the files as it was. */
  @Test
  void whatIsSavedLoadsAgain() throws IOException {
    SplittableRandom random = new SplittableRandom(11);
    String[] kinds = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"};
    for (int round = 0; round < 25; round++) {
      List<String> names = new ArrayList<>(List.of(kinds));
      while (names.size() > 1 + random.nextInt(7)) {
        names.remove(random.nextInt(names.size()));
      }
      names.sort(null);
      ModulePattern modules =
          switch (round % 3) {
            case 0 -> new ModulePattern.Names(names);
            case 1 -> ModulePattern.ofText(".*\\.(" + String.join("|", names) + ")");
            default ->
                new ModulePattern.Names(
                    Stream.of("model.layers.1.mlp.up_proj", kinds[round % 7]).sorted().toList());
          };
      ModulePattern excluded =
          random.nextBoolean() ? ModulePattern.NONE : ModulePattern.ofText(".*\\.0\\.mlp.*");
      List<Integer> layers = round % 3 != 1 && random.nextBoolean() ? List.of(1) : List.of();
      Map<String, Integer> ranks = new LinkedHashMap<>();
      Map<String, Float> alphas = new LinkedHashMap<>();
      for (int i = random.nextInt(4); i > 0; i--) {
        ranks.put(kinds[random.nextInt(7)], 1 + random.nextInt(9));
        alphas.put("layers\\.1\\..*" + kinds[random.nextInt(7)], random.nextInt(1, 90) / 8f);
      }
      LoraConfig lora =
          new LoraConfig(
              1 + random.nextInt(20),
              random.nextInt(1, 99) / 3f,
              random.nextInt(10) / 10f,
              new LoraTargets(modules, excluded, layers, List.of()),
              random.nextBoolean(),
              ranks,
              alphas);
      Path folder = Files.createTempDirectory(temp, "saved");
      List<LoraAdapter.Module> all = CausalLm.modules(config);
      if (all.stream().noneMatch(m -> lora.targets().select(m.name()))) {
        assertThrows(
            InputException.class,
            () -> new LoraAdapter(device, lora, all, List.of(), false, 1).close());
        continue;
      }
      try (LoraAdapter made = new LoraAdapter(device, lora, all, List.of(), false, round)) {
        PeftAdapter.save(made, PeftAdapter.Task.CAUSAL_LM, "base", folder);
        try (LoraAdapter read = load(folder)) {
          assertEquals(lora, read.config());
          assertEquals(made.modules(), read.modules());
          for (Parameter p : made.parameters().all()) {
            assertArrayEquals(
                p.value().toFloats(), read.parameters().get(p.name()).value().toFloats(), p.name());
          }
        }
      }
    }
  }

  // ---- refusals

  private Path changed(String key, String json) throws IOException {
    Path copy = Files.createTempDirectory(temp, "changed");
    Files.copy(
        resources.resolve("patterns/adapter_model.safetensors"),
        copy.resolve("adapter_model.safetensors"));
    ObjectNode c = Json.readObject(resources.resolve("patterns/adapter_config.json"));
    c.set(key, Json.MAPPER.readTree(json));
    Files.writeString(copy.resolve("adapter_config.json"), c.toString());
    return copy;
  }

  private static String refusal(Path folder) {
    return assertThrows(InputException.class, () -> load(folder).close()).getMessage();
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = ';',
      quoteCharacter = '\0',
      value = {
        "use_dora; true; DoRA",
        "use_qalora; true; QA-LoRA",
        "use_bdlora; {\"nblocks\": 2}; BD-LoRA",
        "lora_bias; true; lora_bias",
        "bias; \"lora_only\"; bias",
        "alora_invocation_tokens; [1, 2]; aLoRA",
        "arrow_config; {\"top_k\": 3}; Arrow",
        "kasa_config; {\"beta\": 1}; KaSA",
        "velora_config; {\"num_groups\": 1}; VeLoRA",
        "monteclora_config; {\"x\": 1}; MonteCLoRA",
        "layer_replication; [[0, 2], [1, 2]]; layer_replication",
        "megatron_config; {\"x\": 1}; Megatron",
        "target_parameters; [\"mlp.weight\"]; target_parameters",
        "trainable_token_indices; [3]; trainable_token_indices",
        "init_lora_weights; \"pissa_niter_16\"; pissa",
        "init_lora_weights; \"olora\"; olora",
        "init_lora_weights; \"loftq\"; loftq",
        "modules_to_save; [\"lm_head\"]; lm_head",
        "modules_to_save; [\"score\", \"embed_tokens\"]; embed_tokens",
        "an_option_of_tomorrow; true; an_option_of_tomorrow",
        "peft_type; \"ADALORA\"; ADALORA",
        "r; 0; r: expected",
        "rank_pattern; {\"q_proj\": 0}; q_proj",
        "rank_pattern; {\"(q\": 2}; (q",
        "alpha_pattern; {\"q_proj\": \"x\"}; q_proj",
        "target_modules; null; target_modules",
        "target_modules; \"(q_proj\"; (q_proj",
        "target_modules; [1]; target_modules",
        "layers_to_transform; [\"a\"]; layers_to_transform"
      })
  void whatIsNotSupportedIsRefusedByName(String key, String json, String word) throws IOException {
    String message = refusal(changed(key, json));
    assertTrue(message.contains(word) && message.contains("adapter_config.json"), message);
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = ';',
      quoteCharacter = '\0',
      value = {
        "use_dora; false",
        "use_bdlora; null",
        "layer_replication; []",
        "trainable_token_indices; {}",
        "init_lora_weights; \"gaussian\"",
        "init_lora_weights; \"eva\"",
        "loftq_config; {\"loftq_bits\": 4}",
        "eva_config; {\"rho\": 2}",
        "corda_config; {\"x\": 1}",
        "fan_in_fan_out; true",
        "modules_to_save; [\"classifier\", \"score\"]",
        "runtime_config; {\"ephemeral_gpu_offload\": false}",
        "an_option_of_tomorrow; 16",
        "megatron_core; \"megatron.core\""
      })
  void whatChangesNothingIsPassedOver(String key, String json) throws IOException {
    try (LoraAdapter adapter = load(changed(key, json))) {
      checkLogits(base, adapter, "patterns");
    }
  }

  @Test
  void tensorsThatAreMissingOrTooManyAreNamed() throws IOException {
    String missing = refusal(changed("target_modules", "[\"q_proj\",\"v_proj\",\"up_proj\"]"));
    assertTrue(missing.contains("model.layers.0.mlp.up_proj.lora_A"), missing);
    String unknown = refusal(changed("target_modules", "[\"q_proj\", \"v_proj\"]"));
    assertTrue(
        unknown.contains("'base_model.model.model.layers.0.mlp.down_proj.lora_A.weight'"), unknown);
    String rank = refusal(changed("rank_pattern", "{}"));
    assertTrue(rank.contains("[4, 32]") && rank.contains("[2, 32]"), rank);
  }

  @Test
  void pickledWeightsAreToBeConverted() throws IOException {
    Path folder = changed("r", "4");
    Files.move(folder.resolve("adapter_model.safetensors"), folder.resolve("adapter_model.bin"));
    String message = refusal(folder);
    assertTrue(message.contains("adapter_model.bin") && message.contains("save"), message);
  }

  @Test
  void adaptersOfGpt2AreWrittenForConv1d() throws IOException {
    List<LoraAdapter.Module> modules =
        List.of(
            new LoraAdapter.Module("transformer.h.0.attn.c_attn", 8, 24, true),
            new LoraAdapter.Module("transformer.h.0.mlp.c_proj", 32, 8, true));
    try (LoraAdapter adapter =
            new LoraAdapter(device, LoraConfig.rank(2), modules, List.of(), false, 1);
        LoraAdapter llama =
            new LoraAdapter(
                device, LoraConfig.rank(2), CausalLm.modules(config), List.of(), false, 1)) {
      ObjectNode c = PeftConfig.json(adapter, PeftAdapter.Task.CAUSAL_LM, "gpt2");
      assertTrue(c.get("fan_in_fan_out").asBoolean());
      assertEquals("[\"c_attn\",\"c_proj\"]", c.get("target_modules").toString());
      assertFalse(
          PeftConfig.json(llama, PeftAdapter.Task.CAUSAL_LM, "x")
              .get("fan_in_fan_out")
              .asBoolean());
    }
  }

  @Test
  void headsThatAreAskedForMustBeThere() {
    List<Parameters.Spec> head = RewardModel.scoreHead(config);
    InputException e =
        assertThrows(
            InputException.class,
            () ->
                PeftAdapter.load(
                    device,
                    resources.resolve("patterns"),
                    CausalLm.modules(config),
                    head,
                    Set.of(RewardModel.SCORE),
                    false));
    assertTrue(e.getMessage().contains("score.weight"), e.getMessage());
  }
}
