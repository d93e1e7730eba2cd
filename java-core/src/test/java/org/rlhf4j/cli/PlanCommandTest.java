package org.rlhf4j.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.rlhf4j.checkpoint.ModelFiles;
import org.rlhf4j.lora.LoraConfig;
import org.rlhf4j.nn.CausalLm;
import org.rlhf4j.nn.Policy;
import org.rlhf4j.nn.families.Families;
import org.rlhf4j.tensor.DType;
import org.rlhf4j.tensor.Device;

/** plan, for the stages of golden's tiny model, against what the device really holds. */
class PlanCommandTest {
  @TempDir Path work;

  private JsonNode plan(String stage, Object... more) throws IOException {
    List<Object> line = new ArrayList<>(TrainingRuns.of(stage, work, work.resolve(stage)));
    line.add(0, "plan");
    line.addAll(List.of(more));
    return Ran.json(line.toArray());
  }

  @Test
  void everyStageIsPlanned() throws IOException {
    for (String stage : List.of("sft", "full", "reward", "ppo")) {
      JsonNode plan = plan(stage);
      JsonNode memory = plan.get("memory");
      long sum = 0;
      for (String part : List.of("weights", "state", "transients", "process")) {
        assertTrue(memory.get(part).asLong() > 0, () -> part + " of " + plan);
        sum += memory.get(part).asLong();
      }
      assertEquals(sum, memory.get("total").asLong());
      assertTrue(plan.get("fits").asBoolean());
      assertEquals(4, plan.get("steps").asLong());
      assertTrue(plan.get("seconds").asDouble() > 0);
      assertTrue(Files.notExists(work.resolve(stage)), "nothing is made");
    }
  }

  @Test
  void weightsAndStateAreWhatTheDeviceHolds() throws IOException {
    JsonNode memory = plan("sft", "--dtype", "f32").get("memory");
    try (Device device = Device.cpu(1);
        ModelFiles files = ModelFiles.open(TrainingRuns.MODEL);
        CausalLm model =
            CausalLm.frozen(
                device, Families.config(files.config(), "llama"), DType.F32, files::tensor)) {
      long weights = device.memory().inUse();
      assertEquals(weights, memory.get("weights").asLong(), 0.05 * weights);
      Policy policy = Policy.create(model, LoraConfig.defaults(), 1);
      // Values and gradients, and two moments; and the backward's copies of the matrices.
      long adapter = device.memory().inUse() - weights;
      long state = memory.get("state").asLong();
      assertTrue(state > 1.8 * adapter && state < 2.2 * adapter + weights, () -> "state " + state);
      policy.adapter().close();
    }
  }

  @Test
  void aConfigurationIsEnough() throws IOException {
    Path folder = Files.createDirectory(work.resolve("described"));
    for (String file : List.of("config.json", "tokenizer.json", "tokenizer_config.json")) {
      Files.copy(TrainingRuns.MODEL.resolve(file), folder.resolve(file));
    }
    List<Object> line = new ArrayList<>(TrainingRuns.of("sft", work, work.resolve("sft")));
    line.set(line.indexOf(TrainingRuns.MODEL), folder);
    line.add(0, "plan");
    JsonNode found = Ran.json(line.toArray());
    JsonNode whole = plan("sft");
    assertEquals(whole.at("/memory/weights"), found.at("/memory/weights"));
    assertEquals(whole.get("parameters"), found.get("parameters"));
    JsonNode inspected = Ran.json("inspect", folder);
    assertEquals("none", inspected.get("weights").asText());
    assertEquals(whole.get("parameters"), inspected.get("parameters"));
    Ran.run("generate", "--model", folder, "--prompt", "x").refused("model.safetensors");
  }

  @Test
  void whatIsWrongIsSaid() {
    Ran.run("plan").refused("plan: expected the stage first, one of sft, reward, ppo");
    Ran.run("plan", "dpo", "--model", "x").refused("found 'dpo'");
    Ran.run("plan", "sft", "--model", work.resolve("none")).refused("none");
  }
}
