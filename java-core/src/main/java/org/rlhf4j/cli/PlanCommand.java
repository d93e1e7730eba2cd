package org.rlhf4j.cli;

import com.fasterxml.jackson.databind.JsonNode;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.stream.Collectors;
import org.rlhf4j.InputException;
import org.rlhf4j.checkpoint.ModelFiles;
import org.rlhf4j.checkpoint.Quantization;
import org.rlhf4j.config.PpoConfig;
import org.rlhf4j.config.RewardConfig;
import org.rlhf4j.config.Settings;
import org.rlhf4j.config.SftConfig;
import org.rlhf4j.config.StageConfig;
import org.rlhf4j.data.DataFiles;
import org.rlhf4j.data.Demonstrations;
import org.rlhf4j.data.Preferences;
import org.rlhf4j.data.Queries;
import org.rlhf4j.data.ReadOptions;
import org.rlhf4j.nn.ModelConfig;
import org.rlhf4j.nn.families.Families;
import org.rlhf4j.plan.Planner;
import org.rlhf4j.plan.RowLength;
import org.rlhf4j.plan.RunPlan;
import org.rlhf4j.tokenizer.ChatTemplate;
import org.rlhf4j.tokenizer.Tokenizer;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Unmatched;

@Command(
    name = "plan",
    description = {
      "The memory and time that a run will need, before it starts: plan sft|reward|ppo, then what that command takes.",
      "Measures a few steps of a model of the same widths with fewer layers; the weights are not read."
    },
    mixinStandardHelpOptions = true)
final class PlanCommand implements Callable<Integer> {
  @Mixin private OutputOptions output;

  @Unmatched private List<String> arguments = new ArrayList<>();

  @Override
  public Integer call() {
    output.configureLog();
    org.rlhf4j.config.Command stage = stage();
    Settings settings = Settings.fromArguments(stage, arguments.subList(1, arguments.size()));
    StageConfig config =
        switch (stage) {
          case SFT -> SftConfig.from(settings);
          case REWARD -> RewardConfig.from(settings);
          case PPO -> PpoConfig.from(settings);
        };
    Path path = config.paths().requiredModel();
    try (ModelFiles files = ModelFiles.openDescription(Models.local(path))) {
      ModelConfig model = Families.config(files.config(), path.toString());
      List<RowLength> rows = rows(config, files, model);
      RunPlan plan = plan(config, files, rows);
      if (output.json) {
        Output.json(document(plan, model, rows));
      } else {
        print(plan, model, rows, config);
      }
    }
    return 0;
  }

  private org.rlhf4j.config.Command stage() {
    String name = arguments.isEmpty() ? "" : arguments.get(0);
    return Arrays.stream(org.rlhf4j.config.Command.values())
        .filter(c -> c.text().equals(name))
        .findFirst()
        .orElseThrow(
            () ->
                new InputException(
                    "plan: expected the stage first, one of "
                        + Arrays.stream(org.rlhf4j.config.Command.values())
                            .map(org.rlhf4j.config.Command::text)
                            .collect(Collectors.joining(", "))
                        + ", found "
                        + (name.isEmpty() ? "nothing" : "'" + name + "'")));
  }

  private static RunPlan plan(StageConfig config, ModelFiles files, List<RowLength> rows) {
    JsonNode json = files.config();
    String dtype = config.runtime().precision().name().toLowerCase(Locale.ROOT);
    boolean stored =
        config.runtime().quantization() == Quantization.AUTO && files.quantization().isNf4();
    return Planner.plan(
        stored ? config.with("quantization", files.quantization().text()) : config,
        json,
        files.path().toString(),
        LoadedModel.dtype(dtype, files),
        rows,
        () -> Devices.open(config.runtime().device(), config.runtime().threads()));
  }

  /** The lengths of the rows that the run would see. */
  private static List<RowLength> rows(StageConfig config, ModelFiles files, ModelConfig model) {
    Tokenizer tokenizer = LoadedModel.tokenizerOrNull(files);
    ChatTemplate template = files.chatTemplate().orElse(null);
    ReadOptions options = StageOptions.reading(config, model);
    DataFiles data = StageOptions.data(config);
    return switch (config) {
      case SftConfig sft ->
          Demonstrations.read(data, tokenizer, template, options).records().stream()
              .map(d -> new RowLength(d.ids().length, d.promptLength()))
              .toList();
      case RewardConfig reward ->
          Preferences.read(data, tokenizer, template, options).records().stream()
              .map(p -> new RowLength(p.chosenIds().length, p.rejectedIds().length))
              .toList();
      case PpoConfig ppo ->
          Queries.read(data, tokenizer, template, StageOptions.queries(ppo, model))
              .records()
              .stream()
              .map(q -> new RowLength(q.ids().length, 0))
              .toList();
    };
  }

  private static Map<String, Object> document(
      RunPlan plan, ModelConfig model, List<RowLength> rows) {
    Map<String, Object> memory = new LinkedHashMap<>();
    memory.put("weights", plan.weights());
    memory.put("state", plan.state());
    memory.put("transients", plan.transients());
    memory.put("process", plan.process());
    memory.put("total", plan.memory());
    memory.put("available", plan.available());
    Map<String, Object> document = new LinkedHashMap<>();
    document.put("model_type", model.modelType());
    document.put("parameters", model.parameterCount());
    document.put("rows", rows.size());
    document.put("memory", memory);
    document.put("fits", plan.fits());
    document.put("seconds_per_step", plan.secondsPerStep());
    document.put("steps", plan.steps());
    document.put("seconds", plan.seconds());
    return document;
  }

  private static void print(
      RunPlan plan, ModelConfig model, List<RowLength> rows, StageConfig config) {
    Output.line(
        String.format(
            Locale.ROOT,
            "model    %s, %d layers, %,d parameters",
            model.modelType(),
            model.layers(),
            model.parameterCount()));
    Output.line(
        String.format(
            Locale.ROOT,
            "data     %,d rows, %.0f tokens on average, %d at most",
            rows.size(),
            rows.stream().mapToInt(RowLength::tokens).average().orElse(0),
            rows.stream().mapToInt(RowLength::tokens).max().orElse(0)));
    Output.line(
        String.format(
            Locale.ROOT,
            "memory   about %s: weights %s, training state %s, a step's activations %s%s; free are %s",
            bytes(plan.memory()),
            bytes(plan.weights()),
            bytes(plan.state()),
            bytes(plan.transients()),
            plan.process() == 0 ? "" : ", the process " + bytes(plan.process()),
            bytes(plan.available()) + (plan.process() == 0 ? " of the GPU's own" : "")));
    Output.line(
        String.format(
            Locale.ROOT,
            "time     about %.3g s a step, %,d steps: %s",
            plan.secondsPerStep(),
            plan.steps(),
            duration(plan.seconds())));
    if (!plan.fits()) {
      System.err.println("rlhf4j: warning: this will not fit; " + advice(config));
    }
  }

  /** What makes a run smaller, and is not done yet. */
  private static String advice(StageConfig config) {
    List<String> ways = new ArrayList<>();
    if (!config.training().gradientCheckpointing()) {
      ways.add("gradient_checkpointing=true");
    }
    if (config instanceof PpoConfig ppo
        ? ppo.miniBatchSize() > 1
        : config.training().batchSize() > 1) {
      ways.add(config instanceof PpoConfig ? "a smaller mini_batch_size" : "a smaller batch_size");
    }
    if (config instanceof SftConfig whole && whole.full()) {
      ways.add("training=lora");
    }
    boolean full = config instanceof SftConfig sft && sft.full();
    if (!full && !config.runtime().quantization().isNf4()) {
      ways.add("quantization=nf4");
    }
    ways.add("a smaller max_length");
    return "what helps: " + String.join(", ", ways);
  }

  private static String bytes(long n) {
    return n >= 1L << 30
        ? String.format(Locale.ROOT, "%.1f GiB", n / 0x1p30)
        : String.format(Locale.ROOT, "%.0f MiB", n / 0x1p20);
  }

  private static String duration(double seconds) {
    long s = Math.round(seconds);
    return s >= 3600
        ? s / 3600 + " h " + s % 3600 / 60 + " min"
        : s >= 60 ? s / 60 + " min " + s % 60 + " s" : s + " s";
  }
}
