package org.rlhf4j.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.rlhf4j.checkpoint.BitsAndBytes;
import org.rlhf4j.checkpoint.FloatSource;
import org.rlhf4j.checkpoint.FloatType;
import org.rlhf4j.checkpoint.Nf4Scales;
import org.rlhf4j.checkpoint.Nf4Tensor;
import org.rlhf4j.checkpoint.SafetensorsWriter;
import org.rlhf4j.checkpoint.TensorToWrite;
import org.rlhf4j.graph.Parameters;
import org.rlhf4j.json.Json;
import org.rlhf4j.lora.LoraAdapter;
import org.rlhf4j.nn.CausalLm;
import org.rlhf4j.nn.ModelConfig;
import org.rlhf4j.nn.families.Families;

/**
 * One PPO step on Llama-3.1-8B's true widths in NF4, with random weights: its peak memory with few
 * layers, and what that makes with all 32. {@code -Pfull-size} runs it; {@code
 * -Drlhf4j.full-size.layers=2,32} names the numbers of layers to measure.
 */
@Tag("full-size")
@Timeout(value = 30, unit = TimeUnit.MINUTES)
class FullSizeTest {
  private static final long GIB = 1L << 30;
  private static final int LAYERS = 32;

  private static final String CONFIG =
      """
      {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "dtype": "bfloat16",
       "vocab_size": 128256, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 0,
       "num_attention_heads": 32, "num_key_value_heads": 8, "hidden_act": "silu", "rms_norm_eps": 1e-05,
       "max_position_embeddings": 131072, "tie_word_embeddings": false, "eos_token_id": 128009,
       "rope_theta": 500000.0, "rope_scaling": {"rope_type": "llama3", "factor": 8.0,
        "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192},
       "quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": true,
        "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": false}}
      """;

  @TempDir Path work;

  @Test
  void aPpoStepOfAnEightBillionModelFitsInTwelveGibibytes() throws Exception {
    List<Integer> layers =
        List.of(System.getProperty("rlhf4j.full-size.layers", "2,6").split(",")).stream()
            .map(Integer::valueOf)
            .toList();
    long available = availableMemory();
    assumeTrue(
        available >= 10 * GIB,
        () -> "skipped: needs 10 GiB of free memory, found " + available / GIB);
    List<Long> peaks = new ArrayList<>();
    for (int n : layers) {
      peaks.add(peakOfPpo(n));
      System.out.printf("%d layers: %.2f GiB%n", n, gib(peaks.getLast()));
    }
    double layer =
        (double) (peaks.getLast() - peaks.getFirst()) / (layers.getLast() - layers.getFirst());
    double all = peaks.getFirst() + (LAYERS - layers.getFirst()) * layer;
    System.out.printf(
        "%.3f GiB for each layer; with %d layers %.2f GiB%n", gib(layer), LAYERS, gib(all));
    assertTrue(all <= 12 * GIB, () -> gib(all) + " GiB, expected at most 12");
  }

  private static double gib(double bytes) {
    return bytes / GIB;
  }

  /** Runs the step in a process of its own. */
  private long peakOfPpo(int layers) throws Exception {
    Path model = Files.createDirectory(work.resolve("model" + layers));
    ObjectNode json = (ObjectNode) Json.MAPPER.readTree(CONFIG);
    json.put("num_hidden_layers", layers);
    Files.writeString(model.resolve("config.json"), json.toString());
    ModelConfig config = Families.config(json, "the test");
    SafetensorsWriter.write(model.resolve("model.safetensors"), weights(config));
    Path reward = Files.createDirectory(work.resolve("reward" + layers));
    writeRewardAdapter(config, reward);
    Path queries = work.resolve("queries.jsonl");
    String ids =
        IntStream.range(100, 132).mapToObj(String::valueOf).collect(Collectors.joining(","));
    Files.writeString(
        queries, "{\"query_ids\": [" + ids + "]}\n{\"query_ids\": [7," + ids + "]}\n");
    List<String> line =
        List.of(
            "ppo",
            "--model",
            model.toString(),
            "--data",
            queries.toString(),
            "--reward-adapter",
            reward.toString(),
            "--out",
            work.resolve("run" + layers).toString(),
            "batch_size=2",
            "max_new_tokens=32",
            "min_new_tokens=32",
            "lora.r=8",
            "max_steps=1");
    long peak = run(line);
    List<ObjectNode> metrics =
        TrainingRuns.lines(work.resolve("run" + layers).resolve("metrics.jsonl"));
    assertEquals(1, metrics.size());
    System.out.println(metrics.get(0));
    Files.delete(model.resolve("model.safetensors"));
    return peak;
  }

  private long run(List<String> line) throws IOException, InterruptedException {
    List<String> command =
        new ArrayList<>(
            List.of(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "--enable-native-access=ALL-UNNAMED",
                "-XX:+UseSerialGC"));
    if (System.getProperty("rlhf4j.native.dir") != null) {
      command.add("-Drlhf4j.native.dir=" + System.getProperty("rlhf4j.native.dir"));
    }
    command.addAll(List.of("-cp", System.getProperty("java.class.path")));
    command.add(PeakMemory.class.getName());
    command.addAll(line);
    Path err = work.resolve("err");
    int code = new ProcessBuilder(command).redirectError(err.toFile()).start().waitFor();
    String said = Files.readString(err);
    assertEquals(0, code, said);
    return said.lines()
        .filter(l -> l.startsWith(PeakMemory.LINE))
        .mapToLong(l -> Long.parseLong(l.substring(PeakMemory.LINE.length())))
        .findFirst()
        .orElseThrow();
  }

  private static Nf4Tensor matrix(Parameters.Spec spec, Random random) {
    byte[] codes = new byte[(int) (spec.shape()[0] * spec.shape()[1] / 2)];
    random.nextBytes(codes);
    ByteBuffer absmax = ByteBuffer.allocate(codes.length / 8).order(ByteOrder.LITTLE_ENDIAN);
    while (absmax.hasRemaining()) {
      absmax.putFloat(0.02f + 0.02f * random.nextFloat());
    }
    return Nf4Tensor.of(
        spec.name(), spec.shape(), codes, Nf4Scales.ofPlain(absmax.array()), FloatType.BF16);
  }

  private static List<TensorToWrite> weights(ModelConfig config) {
    Random random = new Random(8);
    FloatSource noise = noise(random, 0.02f);
    List<TensorToWrite> tensors = new ArrayList<>();
    for (Parameters.Spec spec : CausalLm.specs(config)) {
      if (spec.name().contains("_proj.")) {
        tensors.addAll(
            BitsAndBytes.split(
                spec.name(), spec.shape(), false, FloatType.BF16, () -> matrix(spec, random)));
      } else {
        boolean norm = spec.name().endsWith("norm.weight");
        tensors.add(
            new TensorToWrite(
                spec.name(),
                FloatType.BF16,
                spec.shape(),
                norm
                    ? (first, count, into, offset) -> Arrays.fill(into, offset, offset + count, 1f)
                    : noise));
      }
    }
    return tensors;
  }

  /** Normal numbers that repeat after a period that no row's length divides. */
  private static FloatSource noise(Random random, float deviation) {
    float[] period = new float[1_000_003];
    for (int i = 0; i < period.length; i++) {
      period[i] = (float) random.nextGaussian() * deviation;
    }
    return (first, count, into, offset) -> {
      for (int i = 0; i < count; i++) {
        into[offset + i] = period[(int) ((first + i) % period.length)];
      }
    };
  }

  private static void writeRewardAdapter(ModelConfig config, Path folder) throws IOException {
    FloatSource noise = noise(new Random(9), 0.01f);
    List<TensorToWrite> tensors = new ArrayList<>();
    for (LoraAdapter.Module m : CausalLm.modules(config)) {
      String name = "base_model.model." + m.name() + ".lora_";
      tensors.add(
          new TensorToWrite(name + "A.weight", FloatType.F32, new long[] {8, m.in()}, noise));
      tensors.add(
          new TensorToWrite(name + "B.weight", FloatType.F32, new long[] {m.out(), 8}, noise));
    }
    tensors.add(
        new TensorToWrite(
            "base_model.model.score.weight",
            FloatType.F32,
            new long[] {1, config.hiddenSize()},
            noise));
    SafetensorsWriter.write(folder.resolve("adapter_model.safetensors"), tensors);
    Files.writeString(
        folder.resolve("adapter_config.json"),
        """
        {"peft_type": "LORA", "task_type": "SEQ_CLS", "r": 8, "lora_alpha": 16, "lora_dropout": 0.0,
         "bias": "none", "modules_to_save": ["score"], "target_modules": ["q_proj", "k_proj", "v_proj",
         "o_proj", "gate_proj", "up_proj", "down_proj"]}
        """);
  }

  private static long availableMemory() throws IOException {
    for (String line : Files.readAllLines(Path.of("/proc/meminfo"))) {
      if (line.startsWith("MemAvailable:")) {
        return 1024 * Long.parseLong(line.replaceAll("\\D", ""));
      }
    }
    return 0;
  }
}
