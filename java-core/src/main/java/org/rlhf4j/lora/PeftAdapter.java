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
import org.rlhf4j.checkpoint.FloatType;
import org.rlhf4j.checkpoint.SafetensorsFile;
import org.rlhf4j.checkpoint.SafetensorsWriter;
import org.rlhf4j.checkpoint.StoredTensor;
import org.rlhf4j.checkpoint.TensorToWrite;
import org.rlhf4j.graph.Parameter;
import org.rlhf4j.graph.Parameters;
import org.rlhf4j.json.Json;
import org.rlhf4j.tensor.Device;

/**
 * Adapters in PEFT's format: adapter_config.json and adapter_model.safetensors, with the score head
 * inside (SEQ_CLS) and the value head in a file of its own, value_head.safetensors, under TRL's
 * names.
 */
public final class PeftAdapter {
  private static final String PREFIX = "base_model.model.";
  private static final String CONFIG = "adapter_config.json";
  private static final String WEIGHTS = "adapter_model.safetensors";
  private static final String VALUE_HEAD = "value_head.safetensors";
  private static final String VALUE_PREFIX = "v_head.";

  /** What an adapter is for. */
  public enum Task {
    CAUSAL_LM,
    SEQ_CLS
  }

  private PeftAdapter() {}

  /**
   * Writes {@code adapter} to {@code folder}, which must exist. Parameters under "v_head." go to
   * the value head's file.
   */
  public static void save(LoraAdapter adapter, Task task, String baseModel, Path folder)
      throws IOException {
    List<TensorToWrite> weights = new ArrayList<>();
    List<TensorToWrite> valueHead = new ArrayList<>();
    for (Parameter p : adapter.parameters().all()) {
      boolean lora = p.name().endsWith(".lora_A") || p.name().endsWith(".lora_B");
      if (p.name().startsWith(VALUE_PREFIX)) {
        valueHead.add(tensor(p.name(), p));
      } else {
        weights.add(tensor(PREFIX + p.name() + (lora ? ".weight" : ""), p));
      }
    }
    SafetensorsWriter.write(folder.resolve(WEIGHTS), weights);
    if (!valueHead.isEmpty()) {
      SafetensorsWriter.write(folder.resolve(VALUE_HEAD), valueHead);
    }
    ObjectNode config = config(adapter.config(), task, baseModel);
    config.put(
        "fan_in_fan_out",
        adapter.modules().values().stream().anyMatch(LoraAdapter.Module::fanInFanOut));
    Files.writeString(
        folder.resolve(CONFIG),
        Json.MAPPER.writerWithDefaultPrettyPrinter().writeValueAsString(config) + "\n");
  }

  private static TensorToWrite tensor(String name, Parameter p) {
    return TensorToWrite.of(name, FloatType.F32, p.value().shape(), p.value().toFloats());
  }

  /**
   * All fields that PEFT 0.21 writes; those that say something here are filled in by {@link
   * #config}.
   */
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

  static ObjectNode config(LoraConfig lora, Task task, String baseModel) throws IOException {
    ObjectNode c = (ObjectNode) Json.MAPPER.readTree(TEMPLATE);
    ObjectNode ranks = (ObjectNode) c.get("rank_pattern");
    lora.rankPattern().forEach(ranks::put);
    ObjectNode alphas = (ObjectNode) c.get("alpha_pattern");
    lora.alphaPattern().forEach((name, alpha) -> putNumber(alphas, name, alpha));
    c.put("base_model_name_or_path", baseModel);
    c.put("r", lora.r());
    putNumber(c, "lora_alpha", lora.alpha());
    c.put("lora_dropout", Double.parseDouble(Float.toString(lora.dropout())));
    ArrayNode targets = (ArrayNode) c.get("target_modules");
    new TreeSet<>(lora.targetModules()).forEach(targets::add);
    c.put("task_type", task.name());
    c.put("use_rslora", lora.useRslora());
    if (task == Task.SEQ_CLS) {
      c.putArray("modules_to_save").add("classifier").add("score");
    }
    return c;
  }

  /** PEFT's users write whole numbers as integers. */
  private static void putNumber(ObjectNode node, String name, float value) {
    if (value == Math.rint(value)) {
      node.put(name, (long) value);
    } else {
      node.put(name, Double.parseDouble(Float.toString(value)));
    }
  }

  /**
   * Reads the configuration of an adapter folder.
   *
   * @throws InputException if it is no LoRA adapter, or uses what is not supported
   */
  public static LoraConfig readConfig(Path folder) {
    Path file = folder.resolve(CONFIG);
    if (!Files.isDirectory(folder)) {
      throw new InputException(
          folder + ": expected an adapter folder with " + CONFIG + ", found no such folder");
    }
    if (!Files.isRegularFile(file)) {
      throw new InputException(
          folder + ": expected an adapter folder with " + CONFIG + ", found none there");
    }
    ObjectNode c = Json.readObject(file);
    if (!c.path("peft_type").asText().equals("LORA")) {
      throw InputException.at(file, "peft_type: expected LORA, found " + c.path("peft_type"));
    }
    for (String key : List.of("use_dora", "use_qalora", "lora_bias")) {
      if (c.path(key).asBoolean(false)) {
        throw InputException.at(file, key + ": true is not supported");
      }
    }
    if (!c.path("bias").asText("none").equals("none")) {
      throw InputException.at(file, "bias: expected \"none\", found " + c.path("bias"));
    }
    if (!c.path("r").isInt() || c.get("r").asInt() < 1) {
      throw InputException.at(file, "r: expected a positive number, found " + c.path("r"));
    }
    List<String> targets = new ArrayList<>();
    JsonNode t = c.path("target_modules");
    if (t.isArray()) {
      t.forEach(n -> targets.add(n.asText()));
    } else if (t.isTextual() && t.asText().equals("all-linear")) {
      targets.addAll(LoraConfig.ALL_LINEAR);
    } else if (t.isTextual()) {
      targets.add(t.asText());
    } else {
      throw InputException.at(file, "target_modules: expected names, found " + t);
    }
    Map<String, Integer> ranks = new LinkedHashMap<>();
    c.path("rank_pattern")
        .fields()
        .forEachRemaining(e -> ranks.put(e.getKey(), e.getValue().asInt()));
    Map<String, Float> alphas = new LinkedHashMap<>();
    c.path("alpha_pattern")
        .fields()
        .forEachRemaining(e -> alphas.put(e.getKey(), (float) e.getValue().asDouble()));
    return new LoraConfig(
        c.get("r").asInt(),
        (float) c.path("lora_alpha").asDouble(c.get("r").asInt()),
        (float) c.path("lora_dropout").asDouble(0),
        List.copyOf(targets),
        c.path("use_rslora").asBoolean(false),
        ranks,
        alphas);
  }

  /** Whether the folder has a value head. */
  public static boolean hasValueHead(Path folder) {
    return Files.isRegularFile(folder.resolve(VALUE_HEAD));
  }

  /** "CAUSAL_LM" or "SEQ_CLS", or "" where the config does not say. */
  public static String task(Path folder) {
    return Json.readObject(folder.resolve(CONFIG)).path("task_type").asText("");
  }

  /**
   * Loads an adapter.
   *
   * @param modules the base's linear layers
   * @param heads parameters that may lie in the adapter's files beside A and B; those in {@code
   *     required} must
   */
  public static LoraAdapter load(
      Device device,
      Path folder,
      List<LoraAdapter.Module> modules,
      List<Parameters.Spec> heads,
      Set<String> required,
      boolean trainable) {
    LoraAdapter adapter = new LoraAdapter(device, readConfig(folder), modules, heads, trainable, 0);
    try {
      Map<String, StoredTensor> found = new LinkedHashMap<>();
      try (SafetensorsFile weights = SafetensorsFile.open(folder.resolve(WEIGHTS));
          SafetensorsFile valueHead =
              hasValueHead(folder) ? SafetensorsFile.open(folder.resolve(VALUE_HEAD)) : null) {
        weights.tensors().forEach((name, tensor) -> found.put(parameterName(name), tensor));
        if (valueHead != null) {
          found.putAll(valueHead.tensors());
        }
        for (Parameter p : adapter.parameters().all()) {
          StoredTensor stored = found.remove(p.name());
          if (stored != null) {
            fill(folder, p, stored);
          } else if (!heads.stream().anyMatch(h -> h.name().equals(p.name()))
              || required.contains(p.name())) {
            throw new InputException(folder + ": has no tensor for '" + p.name() + "'");
          }
        }
        found
            .keySet()
            .removeIf(name -> name.startsWith(VALUE_PREFIX) || name.equals("score.weight"));
        if (!found.isEmpty()) {
          throw new InputException(
              folder
                  + ": tensor '"
                  + found.keySet().iterator().next()
                  + "' belongs to no layer of this model");
        }
      }
      return adapter;
    } catch (RuntimeException e) {
      adapter.close();
      throw e;
    }
  }

  private static String parameterName(String stored) {
    String name = stored.startsWith(PREFIX) ? stored.substring(PREFIX.length()) : stored;
    return name.endsWith(".lora_A.weight") || name.endsWith(".lora_B.weight")
        ? name.substring(0, name.length() - ".weight".length())
        : name;
  }

  private static void fill(Path folder, Parameter p, StoredTensor stored) {
    if (!java.util.Arrays.equals(stored.shape(), p.value().shape())) {
      throw new InputException(
          folder
              + ": tensor '"
              + stored.name()
              + "': expected shape "
              + java.util.Arrays.toString(p.value().shape())
              + ", found "
              + java.util.Arrays.toString(stored.shape()));
    }
    float[] values = new float[(int) stored.elements()];
    stored.read(0, values.length, values, 0);
    p.value().copyFrom(values);
  }
}
