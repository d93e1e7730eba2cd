package org.rlhf4j.plan;

import java.util.List;
import java.util.Set;
import java.util.function.IntFunction;
import java.util.stream.IntStream;
import org.rlhf4j.algorithms.PpoTrainer;
import org.rlhf4j.algorithms.RewardTrainer;
import org.rlhf4j.algorithms.RolloutSource;
import org.rlhf4j.algorithms.SampledRollouts;
import org.rlhf4j.algorithms.SftTrainer;
import org.rlhf4j.algorithms.Trainer;
import org.rlhf4j.config.PpoConfig;
import org.rlhf4j.config.RewardConfig;
import org.rlhf4j.config.SftConfig;
import org.rlhf4j.config.StageConfig;
import org.rlhf4j.data.Demonstration;
import org.rlhf4j.data.Preference;
import org.rlhf4j.generate.GenerationConfig;
import org.rlhf4j.lora.LoraAdapter;
import org.rlhf4j.lora.LoraConfig;
import org.rlhf4j.nn.CausalLm;
import org.rlhf4j.nn.Policy;
import org.rlhf4j.nn.RewardModel;
import org.rlhf4j.tensor.Device;

/**
 * Makes a few steps of a stage's own trainer on a small model, with rows of given lengths, and
 * measures them: what it says stays true whatever the trainers come to do.
 */
final class StageProbe {
  private static final int STEPS = 3;

  private StageProbe() {}

  /**
   * @param model the small model, loaded and nothing else on its device
   * @param rows one batch
   */
  static Probe measure(CausalLm model, StageConfig config, List<RowLength> rows) {
    Device device = model.device();
    long weights = device.memory().inUse();
    long loading = device.memory().peak() - weights;
    StageConfig brief = config.with("max_steps", STEPS).with("shuffle", false);
    try (Stage stage = stage(model, brief, rows)) {
      stage.trainer.step(); // makes what lasts: the backward's copies of the weights
      stage.phases.begin();
      double seconds = Double.POSITIVE_INFINITY;
      for (int i = 1; i < STEPS; i++) {
        long began = System.nanoTime();
        stage.trainer.step();
        seconds = Math.min(seconds, (System.nanoTime() - began) / 1e9);
        stage.phases.end(2);
      }
      if (config instanceof PpoConfig ppo) {
        update(model, ppo, rows, stage);
      }
      return new Probe(
          model.config().layers(),
          model.config().vocabSize(),
          weights,
          loading,
          device.memory().inUse() - weights,
          stage.phases.highest(),
          seconds);
    }
  }

  /**
   * A minibatch's forward and backward by itself: what grows with the layers, as scoring does not.
   */
  private static void update(CausalLm model, PpoConfig ppo, List<RowLength> rows, Stage stage) {
    int vocab = model.config().vocabSize();
    List<Demonstration> minibatch =
        rows.stream()
            .limit(ppo.miniBatchSize())
            .map(r -> new Demonstration(ids(r.tokens() + ppo.maxNewTokens(), vocab), r.tokens(), 1))
            .toList();
    SftConfig sft =
        SftConfig.defaults()
            .with("batch_size", minibatch.size())
            .with("max_steps", 1)
            .with("gradient_checkpointing", ppo.training().gradientCheckpointing());
    try (SftTrainer trainer = new SftTrainer(model, stage.adapters.get(0), minibatch, sft)) {
      stage.phases.begin();
      trainer.step();
      stage.phases.end(1);
    }
  }

  /** The memory's highest in each phase of a step, above what lasts. */
  private static final class Phases {
    private final Device device;
    private final long[] highest = new long[3];
    private long lasting = Long.MAX_VALUE; // nothing counts before the first begin()

    Phases(Device device) {
      this.device = device;
    }

    /** What is there now lasts. */
    void begin() {
      lasting = device.memory().inUse();
      device.resetPeak();
    }

    void end(int phase) {
      highest[phase] = Math.max(highest[phase], device.memory().peak() - lasting);
      device.resetPeak();
    }

    List<Long> highest() {
      return java.util.Arrays.stream(highest).boxed().toList();
    }
  }

  /** A trainer, and the adapters that it works on. */
  private record Stage(Trainer trainer, List<LoraAdapter> adapters, Phases phases)
      implements AutoCloseable {
    @Override
    public void close() {
      trainer.close();
      adapters.forEach(LoraAdapter::close);
    }
  }

  private static Stage stage(CausalLm model, StageConfig config, List<RowLength> rows) {
    IntFunction<int[]> ids = n -> ids(n, model.config().vocabSize());
    LoraConfig lora = config.lora().toLoraConfig();
    long seed = config.training().seed();
    Phases phases = new Phases(model.device());
    return switch (config) {
      case SftConfig sft -> {
        List<Demonstration> data =
            rows.stream().map(r -> new Demonstration(ids.apply(r.tokens()), r.other(), 1)).toList();
        LoraAdapter adapter = sft.full() ? null : Policy.create(model, lora, seed).adapter();
        yield new Stage(
            new SftTrainer(model, adapter, data, sft),
            adapter == null ? List.of() : List.of(adapter),
            phases);
      }
      case RewardConfig reward -> {
        List<Preference> data =
            rows.stream()
                .map(r -> new Preference(ids.apply(r.tokens()), ids.apply(r.other()), 0, 0, 1))
                .toList();
        RewardModel created = RewardModel.create(model, lora, seed);
        yield new Stage(
            new RewardTrainer(created, data, reward), List.of(created.adapter()), phases);
      }
      case PpoConfig ppo -> {
        Policy policy = Policy.create(model, lora, seed);
        RewardModel judge = RewardModel.create(model, lora, seed);
        // No token ends a response: memory and time are those of full length.
        GenerationConfig sampling =
            new GenerationConfig(
                ppo.maxNewTokens(),
                0,
                (float) ppo.temperature(),
                ppo.topK(),
                (float) ppo.topP(),
                Set.of(),
                seed);
        List<int[]> queries = rows.stream().map(r -> ids.apply(r.tokens())).toList();
        SampledRollouts sampled = new SampledRollouts(policy, queries, sampling);
        yield new Stage(
            new PpoTrainer(
                policy,
                ppo.paths().adapter().isPresent() ? policy.adapter() : null,
                judge,
                phased(sampled, phases),
                ppo,
                (step, rollouts) -> {}),
            List.of(policy.adapter(), judge.adapter()),
            phases);
      }
    };
  }

  /** Tells where the rollout ends and the scoring begins. */
  private static RolloutSource phased(RolloutSource source, Phases phases) {
    return new RolloutSource() {
      @Override
      public int size() {
        return source.size();
      }

      @Override
      public Rollout rollout(int[] chosen, long batch) {
        Rollout rollout = source.rollout(chosen, batch);
        phases.end(0);
        return rollout;
      }
    };
  }

  private static int[] ids(int n, int vocab) {
    return IntStream.range(0, n).map(i -> (i * 31 + 7) % vocab).toArray();
  }
}
