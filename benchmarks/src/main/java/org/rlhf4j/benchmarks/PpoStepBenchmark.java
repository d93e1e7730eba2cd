package org.rlhf4j.benchmarks;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.SplittableRandom;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.openjdk.jmh.annotations.AuxCounters;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;
import org.openjdk.jmh.annotations.Warmup;
import org.rlhf4j.algorithms.PpoTrainer;
import org.rlhf4j.algorithms.SampledRollouts;
import org.rlhf4j.checkpoint.ModelFiles;
import org.rlhf4j.config.PpoConfig;
import org.rlhf4j.generate.GenerationConfig;
import org.rlhf4j.json.Json;
import org.rlhf4j.nn.CausalLm;
import org.rlhf4j.nn.ModelConfig;
import org.rlhf4j.nn.Policy;
import org.rlhf4j.nn.RewardModel;
import org.rlhf4j.nn.families.Families;
import org.rlhf4j.tensor.DType;
import org.rlhf4j.tensor.Device;

/**
 * A whole step of PPO on a model of SmolLM2-135M's shape: 2 queries of 50 tokens, 64 new tokens
 * each, the score, then 3 epochs of minibatches of one; LoRA of rank 8 on all projections. The
 * weights are random unless {@code -Drlhf4j.smollm2} names the GGUF file: speed does not depend on
 * them.
 */
@State(Scope.Thread)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.MILLISECONDS)
@Fork(1)
@Warmup(iterations = 1, time = 1, timeUnit = TimeUnit.MILLISECONDS)
@Measurement(iterations = 3, time = 1, timeUnit = TimeUnit.MILLISECONDS)
public class PpoStepBenchmark {
  private static final int BATCH = 2;
  private static final int QUERY_TOKENS = 50;
  private static final int NEW_TOKENS = 64;
  private static final int EPOCHS = 3;

  private static final ModelConfig SMOLLM2_135M =
      Families.config(
          Json.MAPPER
              .createObjectNode()
              .put("model_type", "llama")
              .put("vocab_size", OpBenchmark.VOCABULARY)
              .put("hidden_size", OpBenchmark.HIDDEN)
              .put("intermediate_size", OpBenchmark.INNER)
              .put("num_hidden_layers", OpBenchmark.LAYERS)
              .put("num_attention_heads", OpBenchmark.HEADS)
              .put("num_key_value_heads", OpBenchmark.KV_HEADS)
              .put("head_dim", OpBenchmark.HEAD_SIZE)
              .put("rms_norm_eps", 1e-5)
              .put("rope_theta", 100000)
              .put("max_position_embeddings", 8192)
              .put("tie_word_embeddings", true),
          "benchmark");

  @Param("BF16")
  DType dtype;

  /** {@code -p device=cuda}. */
  @Param("cpu")
  String device;

  private Device opened;
  private CausalLm base;
  private Policy policy;
  private RewardModel reward;
  private PpoTrainer trainer;

  /** The parts of the last step, and memory at its end. */
  @State(Scope.Thread)
  @AuxCounters(AuxCounters.Type.EVENTS)
  public static class Parts {
    public double rolloutMillis;
    public double scoreMillis;
    public double updateMillis;
    public double devicePeakMiB;
    public double residentPeakMiB;
  }

  @Setup
  public void setUp() {
    opened = OpBenchmark.open(device);
    base = model();
    PpoConfig config =
        PpoConfig.defaults()
            .with("batch_size", BATCH)
            .with("mini_batch_size", 1)
            .with("ppo_epochs", EPOCHS)
            .with("max_new_tokens", NEW_TOKENS)
            .with("max_steps", 1000)
            .with("learning_rate", 1e-5)
            .with("lora.r", 8)
            .with("lora.alpha", 16)
            .with("lora.dropout", 0.0)
            .with("shuffle", false);
    policy = Policy.create(base, config.lora().toLoraConfig(), 1);
    reward = RewardModel.create(base, config.lora().toLoraConfig(), 2);
    SplittableRandom random = new SplittableRandom(3);
    List<int[]> queries =
        Stream.generate(() -> random.ints(QUERY_TOKENS, 0, OpBenchmark.VOCABULARY).toArray())
            .limit(BATCH)
            .toList();
    // No token ends a response: every one is of full length.
    SampledRollouts source =
        new SampledRollouts(policy, queries, GenerationConfig.sampling(NEW_TOKENS, Set.of(), 4));
    trainer = new PpoTrainer(policy, null, reward, source, config, (step, scored) -> {});
  }

  private CausalLm model() {
    String file = System.getProperty("rlhf4j.smollm2", "");
    if (file.isEmpty()) {
      return CausalLm.frozen(opened, SMOLLM2_135M, dtype, CausalLm.syntheticWeights(SMOLLM2_135M));
    }
    try (ModelFiles files = ModelFiles.open(Path.of(file))) {
      return CausalLm.frozen(opened, Families.config(files.config(), file), dtype, files::tensor);
    }
  }

  @Benchmark
  public Map<String, Object> step(Parts parts) {
    Map<String, Object> metrics = trainer.step();
    parts.rolloutMillis = 1e3 * (double) metrics.get("time/rollout");
    parts.scoreMillis = 1e3 * (double) metrics.get("time/score");
    parts.updateMillis = 1e3 * (double) metrics.get("time/update");
    parts.devicePeakMiB = opened.memory().peak() / 0x1p20;
    parts.residentPeakMiB = residentPeakMiB();
    return metrics;
  }

  /** The process's greatest resident set; 0 where the system does not tell. */
  private static double residentPeakMiB() {
    try (Stream<String> lines = Files.lines(Path.of("/proc/self/status"))) {
      return lines
          .filter(line -> line.startsWith("VmHWM:"))
          .mapToDouble(line -> Double.parseDouble(line.replaceAll("\\D", "")) / 1024)
          .findFirst()
          .orElse(0);
    } catch (IOException e) {
      return 0;
    }
  }

  @TearDown
  public void close() {
    trainer.close();
    policy.adapter().close();
    reward.adapter().close();
    base.close();
    opened.close();
  }
}
