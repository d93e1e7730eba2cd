package org.rlhf4j.lora;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import org.rlhf4j.InputException;
import org.rlhf4j.json.Json;

/**
 * adapter_config.json, as PEFT writes and reads it. What changes an adapter's result and is not
 * supported is refused by its name; what is switched off, or only acted when the adapter was first
 * made, is passed over.
 */
final class PeftConfig {
  static final String FILE = "adapter_config.json";

  /** Options that are refused unless they are absent, null, false, 0 or empty. */
  private static final Map<String, String> REFUSED =
      Map.ofEntries(
          Map.entry("use_dora", "DoRA"),
          Map.entry("use_qalora", "QA-LoRA"),
          Map.entry("use_bdlora", "BD-LoRA"),
          Map.entry("lora_bias", "a bias of B"),
          Map.entry("alora_invocation_tokens", "aLoRA"),
          Map.entry("arrow_config", "Arrow routing"),
          Map.entry("velora_config", "VeLoRA"),
          Map.entry("monteclora_config", "MonteCLoRA"),
          Map.entry("kasa_config", "KaSA"),
          Map.entry("layer_replication", "replicated layers"),
          Map.entry("megatron_config", "Megatron layers"),
          Map.entry("target_parameters", "adapters of bare parameters"),
          Map.entry("trainable_token_indices", "trained rows of the embedding"));

  /** Initialisations that take their part out of the base's weights, which PEFT does on loading. */
  private static final List<String> CHANGE_THE_BASE =
      List.of("pissa", "olora", "corda", "loftq", "lora_ga");

  /** Heads that may stand in modules_to_save: transformers' names, and TRL's. */
  private static final Set<String> HEADS = Set.of("score", "classifier", "v_head");

  /** All fields that PEFT 0.21 writes; {@link #json} fills in those that say something here. */
  private static final String TEMPLATE =
      """
      {"alora_invocation_tokens": null, "alpha_pattern": {}, "arrow_config": null, "auto_mapping": null,
       "base_model_name_or_path": null, "bias": "none", "corda_config": null, "ensure_weight_tying": false,
       "eva_config": null, "exclude_modules": null, "fan_in_fan_out": false, "inference_mode": true,
       "init_lora_weights": true, "kasa_config": null, "layer_replication": null, "layers_pattern": null,
       "layers_to_transform": null, "loftq_config": {}, "lora_alpha": 0, "lora_bias": false, "lora_dropout": 0.0,
       "lora_ga_config": null, "megatron_config": null, "megatron_core": "megatron.core", "modules_to_save": null,
       "monteclora_config": null, "peft_type": "LORA", "peft_version": "0.21.2", "qalora_group_size": 16, "r": 0,
       "rank_pattern": {}, "revision": null, "target_modules": [], "target_parameters": null, "task_type": null,
       "trainable_token_indices": null, "use_bdlora": null, "use_dora": false, "use_qalora": false,
       "use_rslora": false, "velora_config": null}
      """;

  private final Path file;
  private final ObjectNode json;

  private PeftConfig(Path file, ObjectNode json) {
    this.file = file;
    this.json = json;
  }

  /** The configuration of {@code adapter} as PEFT writes it. */
  static ObjectNode json(LoraAdapter adapter, PeftAdapter.Task task, String baseModel)
      throws IOException {
    LoraConfig lora = adapter.config();
    ObjectNode c = (ObjectNode) Json.MAPPER.readTree(TEMPLATE);
    ObjectNode ranks = (ObjectNode) c.get("rank_pattern");
    lora.rankPattern().forEach(ranks::put);
    ObjectNode alphas = (ObjectNode) c.get("alpha_pattern");
    lora.alphaPattern().forEach((name, alpha) -> putNumber(alphas, name, alpha));
    c.put("base_model_name_or_path", baseModel);
    c.put("r", lora.r());
    putNumber(c, "lora_alpha", lora.alpha());
    c.put("lora_dropout", Double.parseDouble(Float.toString(lora.dropout())));
    c.put(
        "fan_in_fan_out",
        adapter.modules().values().stream().anyMatch(LoraAdapter.Module::fanInFanOut));
    putModules(c, "target_modules", lora.targets().modules(), adapter);
    if (!lora.targets().excluded().equals(ModulePattern.NONE)) {
      putModules(c, "exclude_modules", lora.targets().excluded(), adapter);
    }
    if (!lora.targets().layers().isEmpty()) {
      lora.targets().layers().forEach(c.putArray("layers_to_transform")::add);
    }
    if (!lora.targets().layersPattern().isEmpty()) {
      lora.targets().layersPattern().forEach(c.putArray("layers_pattern")::add);
    }
    c.put("task_type", task.name());
    c.put("use_rslora", lora.useRslora());
    if (task == PeftAdapter.Task.SEQ_CLS) {
      c.putArray("modules_to_save").add("classifier").add("score");
    }
    return c;
  }

  /** PEFT, too, replaces all-linear by the names that it found. */
  private static void putModules(
      ObjectNode node, String key, ModulePattern pattern, LoraAdapter adapter) {
    switch (pattern) {
      case ModulePattern.Names list -> putSorted(node.putArray(key), list.names());
      case ModulePattern.Regex regex -> node.put(key, regex.text());
      case ModulePattern.AllLinear all ->
          putSorted(
              node.putArray(key),
              adapter.modules().keySet().stream()
                  .map(m -> m.substring(m.lastIndexOf('.') + 1))
                  .toList());
    }
  }

  private static void putSorted(ArrayNode array, List<String> names) {
    new TreeSet<>(names).forEach(array::add);
  }

  /** PEFT's users write whole numbers as integers. */
  private static void putNumber(ObjectNode node, String name, float value) {
    if (value == Math.rint(value)) {
      node.put(name, (long) value);
    } else {
      node.put(name, Double.parseDouble(Float.toString(value)));
    }
  }

  /** As {@link PeftAdapter#readConfig}. */
  static LoraConfig read(Path folder) {
    Path file = folder.resolve(FILE);
    if (!Files.isDirectory(folder)) {
      throw new InputException(
          folder + ": expected an adapter folder with " + FILE + ", found no such folder");
    }
    if (!Files.isRegularFile(file)) {
      throw new InputException(
          folder + ": expected an adapter folder with " + FILE + ", found none there");
    }
    PeftConfig config = new PeftConfig(file, Json.readObject(file));
    config.refuseWhatIsNotSupported();
    return config.lora();
  }

  private void refuseWhatIsNotSupported() {
    String type = json.path("peft_type").asText();
    if (!type.equals("LORA")) {
      throw InputException.at(file, "peft_type: expected LORA, found " + json.path("peft_type"));
    }
    for (Map.Entry<String, String> option : REFUSED.entrySet()) {
      if (isActive(json.path(option.getKey()))) {
        throw InputException.at(
            file,
            option.getKey()
                + ": "
                + option.getValue()
                + " is not supported; expected it off, found "
                + json.get(option.getKey()));
      }
    }
    if (!json.path("bias").asText("none").equals("none")) {
      throw InputException.at(file, "bias: expected \"none\", found " + json.path("bias"));
    }
    String init = json.path("init_lora_weights").asText().toLowerCase(java.util.Locale.ROOT);
    if (CHANGE_THE_BASE.stream().anyMatch(init::startsWith)) {
      throw InputException.at(
          file,
          "init_lora_weights: with \""
              + init
              + "\" the base's weights are changed as well, which is not supported; save the adapter"
              + " from PEFT with path_initial_model_for_weight_conversion, which makes it a plain"
              + " LoRA adapter");
    }
    for (String module : names("modules_to_save")) {
      if (!HEADS.contains(module)) {
        throw InputException.at(
            file,
            "modules_to_save: a copy of '"
                + module
                + "' is not supported; beside A and B, only the heads score and v_head are");
      }
    }
    refuseUnknownOptions();
  }

  /** A newer PEFT may have switched on what did not exist when this was written. */
  private void refuseUnknownOptions() {
    ObjectNode known;
    try {
      known = (ObjectNode) Json.MAPPER.readTree(TEMPLATE);
    } catch (IOException e) {
      throw new IllegalStateException(e);
    }
    json.fields()
        .forEachRemaining(
            e -> {
              JsonNode value = e.getValue();
              boolean mayAct = value.isBoolean() || value.isContainerNode();
              if (!known.has(e.getKey())
                  && !e.getKey().equals("runtime_config")
                  && mayAct
                  && isActive(value)) {
                throw InputException.at(
                    file,
                    e.getKey()
                        + ": this option is not known, and so cannot be followed; found "
                        + value);
              }
            });
  }

  private static boolean isActive(JsonNode value) {
    return switch (value.getNodeType()) {
      case MISSING, NULL -> false;
      case BOOLEAN -> value.booleanValue();
      case NUMBER -> value.doubleValue() != 0;
      case STRING -> !value.textValue().isEmpty();
      default -> !value.isEmpty();
    };
  }

  private LoraConfig lora() {
    int r = rank("r", json.path("r"));
    Map<String, Integer> ranks = new LinkedHashMap<>();
    pattern("rank_pattern").forEach((k, v) -> ranks.put(k, rank("rank_pattern: " + k, v)));
    Map<String, Float> alphas = new LinkedHashMap<>();
    pattern("alpha_pattern").forEach((k, v) -> alphas.put(k, number("alpha_pattern: " + k, v)));
    return new LoraConfig(
        r,
        json.hasNonNull("lora_alpha") ? number("lora_alpha", json.get("lora_alpha")) : 8,
        json.hasNonNull("lora_dropout") ? number("lora_dropout", json.get("lora_dropout")) : 0,
        targets(),
        json.path("use_rslora").asBoolean(false),
        ranks,
        alphas);
  }

  private LoraTargets targets() {
    ModulePattern modules = modules("target_modules");
    if (modules.equals(ModulePattern.NONE)) {
      throw InputException.at(
          file, "target_modules: expected names or a pattern, found " + json.get("target_modules"));
    }
    List<Integer> layers = new ArrayList<>();
    for (JsonNode layer : list("layers_to_transform")) {
      if (!layer.isInt()) {
        throw InputException.at(file, "layers_to_transform: expected numbers, found " + layer);
      }
      layers.add(layer.intValue());
    }
    return new LoraTargets(modules, modules("exclude_modules"), layers, names("layers_pattern"));
  }

  private ModulePattern modules(String key) {
    if (!json.path(key).isTextual()) {
      return new ModulePattern.Names(names(key));
    }
    try {
      return ModulePattern.ofText(json.get(key).textValue());
    } catch (InputException e) {
      throw InputException.at(file, key + ": " + e.getMessage());
    }
  }

  /** The strings of a list; a string alone is a list of one, as in PEFT. */
  private List<String> names(String key) {
    List<String> names = new ArrayList<>();
    for (JsonNode name : list(key)) {
      if (!name.isTextual()) {
        throw InputException.at(file, key + ": expected names, found " + name);
      }
      names.add(name.textValue());
    }
    return names;
  }

  private Iterable<JsonNode> list(String key) {
    JsonNode value = json.path(key);
    return value.isMissingNode() || value.isNull()
        ? List.of()
        : value.isArray() ? value : List.of(value);
  }

  private Map<String, JsonNode> pattern(String key) {
    Map<String, JsonNode> entries = new LinkedHashMap<>();
    json.path(key)
        .fields()
        .forEachRemaining(
            e -> {
              try {
                ModulePattern.ofText(e.getKey());
              } catch (InputException wrong) {
                throw InputException.at(file, key + ": " + wrong.getMessage());
              }
              entries.put(e.getKey(), e.getValue());
            });
    return entries;
  }

  private int rank(String key, JsonNode value) {
    if (!value.isInt() || value.intValue() < 1) {
      throw InputException.at(file, key + ": expected a positive whole number, found " + value);
    }
    return value.intValue();
  }

  private float number(String key, JsonNode value) {
    if (!value.isNumber()) {
      throw InputException.at(file, key + ": expected a number, found " + value);
    }
    return value.floatValue();
  }
}
