package org.rlhf4j.lora;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.Collectors;
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
    Files.writeString(
        folder.resolve(PeftConfig.FILE),
        Json.MAPPER
                .writerWithDefaultPrettyPrinter()
                .writeValueAsString(PeftConfig.json(adapter, task, baseModel))
            + "\n");
  }

  private static TensorToWrite tensor(String name, Parameter p) {
    return TensorToWrite.of(name, FloatType.F32, p.value().shape(), p.value().toFloats());
  }

  /**
   * Reads the configuration of an adapter folder.
   *
   * @throws InputException if it is no LoRA adapter, or uses what is not supported
   */
  public static LoraConfig readConfig(Path folder) {
    return PeftConfig.read(folder);
  }

  /** Whether the folder has a value head. */
  public static boolean hasValueHead(Path folder) {
    return Files.isRegularFile(folder.resolve(VALUE_HEAD));
  }

  /** "CAUSAL_LM" or "SEQ_CLS", or "" where the config does not say. */
  public static String task(Path folder) {
    return Json.readObject(folder.resolve(PeftConfig.FILE)).path("task_type").asText("");
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
    LoraConfig config = readConfig(folder);
    Path weightsFile = weights(folder);
    LoraAdapter adapter = new LoraAdapter(device, config, modules, heads, trainable, 0);
    try {
      Map<String, StoredTensor> found = new LinkedHashMap<>();
      try (SafetensorsFile weights = SafetensorsFile.open(weightsFile);
          SafetensorsFile valueHead =
              hasValueHead(folder) ? SafetensorsFile.open(folder.resolve(VALUE_HEAD)) : null) {
        weights.tensors().forEach((name, tensor) -> found.put(parameterName(name), tensor));
        if (valueHead != null) {
          found.putAll(valueHead.tensors());
        }
        Set<String> optional =
            heads.stream()
                .map(Parameters.Spec::name)
                .filter(name -> !required.contains(name))
                .collect(Collectors.toSet());
        List<String> missing = new ArrayList<>();
        for (Parameter p : adapter.parameters().all()) {
          StoredTensor stored = found.remove(p.name());
          if (stored != null) {
            fill(weightsFile, p, stored);
          } else if (!optional.contains(p.name())) {
            missing.add(p.name());
          }
        }
        found
            .keySet()
            .removeIf(name -> name.startsWith(VALUE_PREFIX) || name.equals("score.weight"));
        if (!missing.isEmpty()) {
          throw InputException.at(weightsFile, "has no tensor for " + list(missing));
        }
        if (!found.isEmpty()) {
          throw InputException.at(
              weightsFile,
              "no layer of this model takes "
                  + list(found.values().stream().map(StoredTensor::name).toList())
                  + "; expected A and B of linear layers that target_modules selects, and the heads"
                  + " score and v_head");
        }
      }
      return adapter;
    } catch (RuntimeException e) {
      adapter.close();
      throw e;
    }
  }

  private static Path weights(Path folder) {
    Path file = folder.resolve(WEIGHTS);
    if (!Files.isRegularFile(file) && Files.isRegularFile(folder.resolve("adapter_model.bin"))) {
      throw InputException.at(
          folder,
          "expected "
              + WEIGHTS
              + ", found only adapter_model.bin; load the adapter in PEFT and save it again with"
              + " save_pretrained");
    }
    return file;
  }

  /** At most five names, for a message. */
  private static String list(List<String> names) {
    String first =
        names.stream().limit(5).map(n -> "'" + n + "'").collect(Collectors.joining(", "));
    return first + (names.size() > 5 ? " and " + (names.size() - 5) + " more" : "");
  }

  private static String parameterName(String stored) {
    String name = stored.startsWith(PREFIX) ? stored.substring(PREFIX.length()) : stored;
    return name.endsWith(".lora_A.weight") || name.endsWith(".lora_B.weight")
        ? name.substring(0, name.length() - ".weight".length())
        : name;
  }

  private static void fill(Path file, Parameter p, StoredTensor stored) {
    if (!Arrays.equals(stored.shape(), p.value().shape())) {
      throw InputException.at(
          file,
          "tensor '"
              + stored.name()
              + "': expected shape "
              + Arrays.toString(p.value().shape())
              + ", found "
              + Arrays.toString(stored.shape()));
    }
    float[] values = new float[(int) stored.elements()];
    stored.read(0, values.length, values, 0);
    p.value().copyFrom(values);
  }
}
