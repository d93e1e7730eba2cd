package org.rlhf4j.algorithms;

import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.rlhf4j.checkpoint.FloatType;
import org.rlhf4j.checkpoint.SafetensorsFile;
import org.rlhf4j.checkpoint.SafetensorsWriter;
import org.rlhf4j.checkpoint.StoredTensor;
import org.rlhf4j.checkpoint.TensorToWrite;
import org.rlhf4j.graph.Parameters;
import org.rlhf4j.json.Json;
import org.rlhf4j.optim.AdamW;
import org.rlhf4j.tensor.Tensor;

/**
 * The files of an exact resume: values and moments in trainer.safetensors, counters in state.json.
 */
final class TrainerState {
  private static final String TENSORS = "trainer.safetensors";
  private static final String COUNTERS = "state.json";

  private TrainerState() {}

  static void save(Path folder, Parameters parameters, AdamW optimizer, ObjectNode counters)
      throws IOException {
    List<TensorToWrite> tensors = new ArrayList<>();
    tensors.add(tensor("values", parameters.values()));
    tensors.add(tensor("adamw.m", optimizer.firstMoments()));
    tensors.add(tensor("adamw.v", optimizer.secondMoments()));
    SafetensorsWriter.write(folder.resolve(TENSORS), tensors);
    counters.put("optimizer_steps", optimizer.steps());
    Files.writeString(folder.resolve(COUNTERS), Json.MAPPER.writeValueAsString(counters));
  }

  static ObjectNode load(Path folder, Parameters parameters, AdamW optimizer) throws IOException {
    try (SafetensorsFile file = SafetensorsFile.open(folder.resolve(TENSORS))) {
      fill(file.tensor("values"), parameters.values());
      fill(file.tensor("adamw.m"), optimizer.firstMoments());
      fill(file.tensor("adamw.v"), optimizer.secondMoments());
    }
    parameters.refresh();
    ObjectNode counters = Json.readObject(folder.resolve(COUNTERS));
    optimizer.resumeAt(counters.path("optimizer_steps").asInt());
    return counters;
  }

  private static TensorToWrite tensor(String name, Tensor t) {
    return new TensorToWrite(
        name,
        FloatType.F32,
        t.shape(),
        (first, count, into, offset) ->
            System.arraycopy(t.rows(first, first + count).toFloats(), 0, into, offset, count));
  }

  private static void fill(StoredTensor stored, Tensor t) {
    if (stored.elements() != t.elements()) {
      throw new org.rlhf4j.InputException(
          "checkpoint: '"
              + stored.name()
              + "' has "
              + stored.elements()
              + " values, this run's model has "
              + t.elements()
              + ": resume with the configuration that the run was started with");
    }
    t.copyFrom(stored.bytes());
  }
}
