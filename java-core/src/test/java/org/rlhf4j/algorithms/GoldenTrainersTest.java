package org.rlhf4j.algorithms;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;

import com.fasterxml.jackson.databind.JsonNode;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.OptionalDouble;
import java.util.Set;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.rlhf4j.checkpoint.ModelFiles;
import org.rlhf4j.checkpoint.SafetensorsFile;
import org.rlhf4j.config.PpoConfig;
import org.rlhf4j.config.RewardConfig;
import org.rlhf4j.config.SftConfig;
import org.rlhf4j.data.Demonstration;
import org.rlhf4j.data.Preference;
import org.rlhf4j.data.RecordedRollout;
import org.rlhf4j.graph.Parameter;
import org.rlhf4j.lora.LoraAdapter;
import org.rlhf4j.lora.PeftAdapter;
import org.rlhf4j.nn.CausalLm;
import org.rlhf4j.nn.Policy;
import org.rlhf4j.nn.RewardModel;
import org.rlhf4j.nn.families.Families;
import org.rlhf4j.tensor.DType;
import org.rlhf4j.tensor.Device;
import org.rlhf4j.tensor.PpoLossStats;
import org.rlhf4j.tensor.Scope;
import org.rlhf4j.testing.Close;
import org.rlhf4j.testing.Golden;
import org.rlhf4j.testing.TestDevice;

/**
 * Whole training runs, step by step, against PyTorch with PEFT: every step's figures, and the
 * weights at the end.
 */
class GoldenTrainersTest {
  private Device device;
  private ModelFiles files;
  private CausalLm base;

  @BeforeEach
  void open() {
    files = ModelFiles.open(Golden.path("models/llama"));
    device = TestDevice.open();
    base =
        CausalLm.frozen(
            device, Families.config(files.config(), "models/llama"), DType.F32, files::tensor);
  }

  @AfterEach
  void close() {
    if (base != null) {
      base.close();
      device.close();
      files.close();
    }
  }

  private static int[] ints(JsonNode list) {
    int[] ids = new int[list.size()];
    for (int i = 0; i < ids.length; i++) {
      ids[i] = list.get(i).asInt();
    }
    return ids;
  }

  private void checkFinal(LoraAdapter adapter, SafetensorsFile tensors) {
    int checked = 0;
    for (Parameter p : adapter.parameters().all()) {
      String name =
          p.name().startsWith("v_head")
              ? "final." + p.name()
              : p.name().equals(RewardModel.SCORE)
                  ? "final.base_model.model.score.modules_to_save.default.weight"
                  : "final.base_model.model." + p.name() + ".default.weight";
      Close.check(name, p.value().toFloats(), Golden.floats(tensors, name), 2e-4, 0);
      checked++;
    }
    assertEquals(
        tensors.tensors().keySet().stream().filter(n -> n.startsWith("final.")).count(), checked);
  }

  @Test
  void sft() {
    JsonNode golden = Golden.json("trainers/sft.json");
    List<Demonstration> data = new ArrayList<>();
    for (JsonNode batch : golden.get("batches")) {
      for (JsonNode d : batch) {
        data.add(new Demonstration(ints(d.get("ids")), d.get("prompt_length").asInt(), 0));
      }
    }
    int size = golden.get("batches").get(0).size();
    SftConfig config =
        SftConfig.defaults()
            .with("batch_size", size)
            .with("num_train_epochs", 1)
            .with("learning_rate", 2e-3)
            .with("optim.weight_decay", 0.01)
            .with("lr_scheduler_type", "constant")
            .with("shuffle", false);
    LoraAdapter adapter =
        PeftAdapter.load(
            device,
            Golden.path("trainers/sft.init"),
            CausalLm.modules(base.config()),
            List.of(),
            Set.of(),
            true);
    try (SafetensorsFile tensors = Golden.tensors("trainers/sft.safetensors");
        SftTrainer trainer = new SftTrainer(base, adapter, data, config)) {
      assertEquals(golden.get("steps").size(), trainer.totalSteps());
      for (JsonNode want : golden.get("steps")) {
        Map<String, Object> got = trainer.step();
        Close.check("loss", (double) got.get("loss"), want.get("loss").asDouble(), 0, 1e-3);
        Close.check(
            "grad_norm", (double) got.get("grad_norm"), want.get("grad_norm").asDouble(), 0, 1e-3);
      }
      checkFinal(adapter, tensors);
    }
  }

  @Test
  void gradientAccumulationChangesNothing() {
    JsonNode golden = Golden.json("trainers/sft.json");
    List<Demonstration> data = new ArrayList<>();
    golden
        .get("batches")
        .forEach(
            b ->
                b.forEach(
                    d ->
                        data.add(
                            new Demonstration(
                                ints(d.get("ids")), d.get("prompt_length").asInt(), 0))));
    SftConfig config =
        SftConfig.defaults()
            .with("batch_size", 1)
            .with("gradient_accumulation_steps", golden.get("batches").get(0).size())
            .with("num_train_epochs", 1)
            .with("learning_rate", 2e-3)
            .with("optim.weight_decay", 0.01)
            .with("lr_scheduler_type", "constant")
            .with("shuffle", false);
    LoraAdapter adapter =
        PeftAdapter.load(
            device,
            Golden.path("trainers/sft.init"),
            CausalLm.modules(base.config()),
            List.of(),
            Set.of(),
            true);
    try (SafetensorsFile tensors = Golden.tensors("trainers/sft.safetensors");
        SftTrainer trainer = new SftTrainer(base, adapter, data, config)) {
      trainer.train(m -> {});
      checkFinal(adapter, tensors);
    }
  }

  @Test
  void reward() {
    JsonNode golden = Golden.json("trainers/reward.json");
    List<Preference> data = new ArrayList<>();
    for (JsonNode batch : golden.get("batches")) {
      for (JsonNode p : batch) {
        data.add(new Preference(ints(p.get("chosen")), ints(p.get("rejected")), 0, 0, 0));
      }
    }
    RewardConfig config =
        RewardConfig.defaults()
            .with("batch_size", golden.get("batches").get(0).size())
            .with("num_train_epochs", 1)
            .with("learning_rate", 2e-3)
            .with("lr_scheduler_type", "constant")
            .with("shuffle", false);
    LoraAdapter adapter =
        PeftAdapter.load(
            device,
            Golden.path("trainers/reward.init"),
            CausalLm.modules(base.config()),
            RewardModel.scoreHead(base.config()),
            Set.of(RewardModel.SCORE),
            true);
    try (SafetensorsFile tensors = Golden.tensors("trainers/reward.safetensors");
        RewardTrainer trainer = new RewardTrainer(new RewardModel(base, adapter), data, config)) {
      for (JsonNode want : golden.get("steps")) {
        Map<String, Object> got = trainer.step();
        for (String figure : List.of("loss", "accuracy", "grad_norm")) {
          Close.check(figure, (double) got.get(figure), want.get(figure).asDouble(), 0, 1e-3);
        }
      }
      checkFinal(adapter, tensors);
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"ppo_kl", "ppo_k3", "ppo_full"})
  void ppo(String name) {
    JsonNode golden = Golden.json("trainers/" + name + ".json");
    try (SafetensorsFile tensors = Golden.tensors("trainers/" + name + ".safetensors")) {
      List<RecordedRollout> rollouts = new ArrayList<>();
      JsonNode batches = golden.get("batches");
      for (int b = 0; b < batches.size(); b++) {
        float[] scores = Golden.floats(tensors, "batch" + b + ".scores");
        for (int i = 0; i < scores.length; i++) {
          rollouts.add(
              new RecordedRollout(
                  ints(batches.get(b).get("query_ids").get(i)),
                  ints(batches.get(b).get("response_ids").get(i)),
                  OptionalDouble.of(scores[i]),
                  0));
        }
      }
      int size = rollouts.size() / batches.size();
      PpoConfig config =
          PpoConfig.defaults()
              .with("batch_size", size)
              .with("mini_batch_size", 2)
              .with("learning_rate", 1e-3)
              .with("kl_penalty", golden.get("kl_penalty").asText())
              .with("init_kl_coef", golden.get("init_kl_coef").asDouble())
              .with("vf_coef", golden.get("vf_coef").asDouble())
              .with("shuffle", false);
      Policy policy =
          new Policy(
              base,
              PeftAdapter.load(
                  device,
                  Golden.path("trainers/" + name + ".init"),
                  CausalLm.modules(base.config()),
                  Policy.valueHead(base.config()),
                  Set.of(Policy.VALUE_WEIGHT, Policy.VALUE_BIAS),
                  true));
      checkScores(policy, rollouts, size, golden, tensors);
      List<float[]> updates = new ArrayList<>();
      List<Double> norms = new ArrayList<>();
      try (PpoTrainer trainer =
          new PpoTrainer(
              policy,
              null,
              null,
              new ReplayedRollouts(rollouts, Set.of(1)),
              config,
              (step, scored) -> {},
              (step, epoch, n) -> {
                List<Integer> order = new ArrayList<>();
                batches
                    .get((int) step)
                    .get("minibatches_by_epoch")
                    .get(epoch)
                    .forEach(m -> m.forEach(i -> order.add(i.asInt())));
                return order.stream().mapToInt(i -> i).toArray();
              })) {
        trainer.onMinibatch =
            (stats, norm) -> {
              updates.add(stats);
              norms.add(norm);
            };
        trainer.train(m -> {});
      }
      JsonNode steps = golden.get("steps");
      assertEquals(steps.size(), updates.size());
      for (int i = 0; i < updates.size(); i++) {
        String what = name + " update " + i + " ";
        float[] got = updates.get(i);
        JsonNode want = steps.get(i);
        figure(what, want, "policy", got[PpoLossStats.LOSS_POLICY]);
        figure(what, want, "value", got[PpoLossStats.LOSS_VALUE]);
        figure(what, want, "total", got[PpoLossStats.LOSS_TOTAL]);
        figure(what, want, "policy_clipfrac", got[PpoLossStats.POLICY_CLIPFRAC]);
        figure(what, want, "value_clipfrac", got[PpoLossStats.VALUE_CLIPFRAC]);
        figure(what, want, "ratio_mean", got[PpoLossStats.RATIO_MEAN]);
        figure(what, want, "entropy", got[PpoStats.ENTROPY]);
        figure(what, want, "grad_norm", norms.get(i));
        // Zero at the first update, and a square of small differences at the second: f32 leaves
        // 1e-9 of it.
        Close.check(
            what + "approxkl",
            got[PpoLossStats.APPROXKL],
            want.get("approxkl").asDouble(),
            1e-7,
            1e-3);
      }
      checkFinal(policy.adapter(), tensors);
    }
  }

  private static void figure(String what, JsonNode want, String name, double got) {
    Close.check(what + name, got, want.get(name).asDouble(), 1e-5, 1e-3);
  }

  /** The first batch's per-token figures, before any update. */
  private void checkScores(
      Policy policy,
      List<RecordedRollout> rollouts,
      int size,
      JsonNode golden,
      SafetensorsFile tensors) {
    ReplayedRollouts source = new ReplayedRollouts(rollouts.subList(0, size), Set.of(1));
    int[] all = new int[size];
    for (int i = 0; i < size; i++) {
      all[i] = i;
    }
    RolloutSource.Rollout rollout = source.rollout(all, 0);
    try (Scope scope = device.scope()) {
      Scores s =
          new RolloutScorer(policy, null, null, golden.get("kl_penalty").asText(), 1)
              .score(scope, rollout.trajectories(), rollout.scores());
      PpoMath.Advantages gae =
          PpoMath.advantages(
              scope,
              s,
              s.scores(),
              golden.get("init_kl_coef").asDouble(),
              golden.get("gamma").asDouble(),
              golden.get("lam").asDouble(),
              false,
              golden.get("whiten_advantages").asBoolean());
      check(tensors, "old_logprobs", s.logp().toFloats());
      check(tensors, "ref_logprobs", s.refLogp().toFloats());
      check(tensors, "values", s.values().toFloats());
      check(tensors, "kl", s.kl().toFloats());
      check(tensors, "rewards", gae.rewards().toFloats());
      check(tensors, "returns", gae.returns().toFloats());
      check(tensors, "advantages", gae.advantages().toFloats());
      assertArrayEquals(Golden.floats(tensors, "batch0.scores"), s.scores());
    }
  }

  private static void check(SafetensorsFile tensors, String name, float[] got) {
    Close.check("batch0." + name, got, Golden.floats(tensors, "batch0." + name), 1e-4, 1e-3);
  }
}
