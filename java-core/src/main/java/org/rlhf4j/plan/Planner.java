package org.rlhf4j.plan;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.Comparator;
import java.util.List;
import org.rlhf4j.algorithms.Trainer;
import org.rlhf4j.config.PpoConfig;
import org.rlhf4j.config.SftConfig;
import org.rlhf4j.config.StageConfig;
import org.rlhf4j.nn.CausalLm;
import org.rlhf4j.nn.ModelConfig;
import org.rlhf4j.nn.families.Families;
import org.rlhf4j.tensor.DType;
import org.rlhf4j.tensor.Device;

/**
 * Tells what a run will take by running the start of it in small: models of the true widths with
 * one or two layers and a few thousand tokens of vocabulary, from whose differences the whole
 * follows.
 */
public final class Planner {
  /** The smaller vocabulary of the probes, where the model has not a smaller one itself. */
  private static final int NARROW = 2048;

  /**
   * What the Java heap, compiled code and the threads' scratch grow by during a run (measured: 70
   * to 100 MiB with the launcher's options).
   */
  private static final long GROWTH = 80L << 20;

  private Planner() {}

  /** Opens the device that a probe runs on, with nothing on it yet. */
  public interface Devices {
    Device open();
  }

  /**
   * @param modelJson the model's config.json
   * @param rows how long the rows of the data are
   */
  public static RunPlan plan(
      StageConfig config,
      JsonNode modelJson,
      String where,
      DType dtype,
      List<RowLength> rows,
      Devices devices) {
    Room room = room(devices);
    List<RowLength> longest =
        rows.stream()
            .sorted(Comparator.comparingInt(Planner::tokens).reversed())
            .limit(Trainer.rowsPerStep(config))
            .toList();
    ModelConfig whole = Families.config(modelJson, where);
    // Never more than the model's own: extrapolating downwards, noise could make a time negative.
    int narrow = Math.min(NARROW, whole.vocabSize());
    Probe small = probe(config, modelJson, where, dtype, longest, devices, 1, narrow);
    Probe deep = probe(config, modelJson, where, dtype, longest, devices, 2, narrow);
    Probe wide = probe(config, modelJson, where, dtype, longest, devices, 1, 4 * narrow);
    int fresh = config instanceof PpoConfig ppo ? ppo.maxNewTokens() : 0;
    double average = rows.stream().mapToInt(Planner::tokens).average().orElseThrow() + fresh;
    double most = longest.stream().mapToInt(Planner::tokens).average().orElseThrow() + fresh;
    return RunPlan.of(
        small,
        deep,
        wide,
        whole.layers(),
        whole.vocabSize(),
        average / most,
        room.process(),
        room.available(),
        Trainer.steps(config, rows.size()));
  }

  /**
   * Where tensors go.
   *
   * @param process bytes that the Java process takes of it
   * @param available bytes that are free there for this process and its tensors
   */
  private record Room(long process, long available) {}

  /** A GPU's own memory; else the machine's, which the process shares. */
  private static Room room(Devices devices) {
    long now = Machine.resident();
    Room machine = new Room(now + GROWTH, Machine.available() + now);
    try (Device device = devices.open()) {
      return device.capacity().map(gpu -> new Room(0, gpu.free())).orElse(machine);
    }
  }

  private static int tokens(RowLength row) {
    return row.tokens() + row.other();
  }

  private static Probe probe(
      StageConfig config,
      JsonNode modelJson,
      String where,
      DType dtype,
      List<RowLength> rows,
      Devices devices,
      int layers,
      int vocab) {
    ModelConfig small = Families.config(scaled(modelJson, layers, vocab), where);
    boolean full = config instanceof SftConfig sft && sft.full();
    try (Device device = devices.open();
        CausalLm model =
            full
                ? CausalLm.initialised(device, small, dtype, 1)
                : CausalLm.frozen(
                    device,
                    small,
                    dtype,
                    config.runtime().quantization(),
                    CausalLm.syntheticWeights(small))) {
      return StageProbe.measure(model, config, rows);
    }
  }

  /** The same configuration with fewer layers and another vocabulary. */
  private static JsonNode scaled(JsonNode modelJson, int layers, int vocab) {
    ObjectNode json = modelJson.deepCopy();
    json.put(json.has("n_layer") ? "n_layer" : "num_hidden_layers", layers);
    json.put("vocab_size", vocab);
    if (json.get("layer_types") instanceof ArrayNode types) {
      while (types.size() > layers) {
        types.remove(types.size() - 1);
      }
    }
    return json;
  }
}
