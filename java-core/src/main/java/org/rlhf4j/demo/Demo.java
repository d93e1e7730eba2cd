package org.rlhf4j.demo;

import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Consumer;
import org.rlhf4j.algorithms.PpoTrainer;
import org.rlhf4j.algorithms.RewardTrainer;
import org.rlhf4j.algorithms.SampledRollouts;
import org.rlhf4j.algorithms.SftTrainer;
import org.rlhf4j.algorithms.Trainer;
import org.rlhf4j.checkpoint.FloatType;
import org.rlhf4j.checkpoint.ModelFiles;
import org.rlhf4j.checkpoint.ModelFolderWriter;
import org.rlhf4j.config.PpoConfig;
import org.rlhf4j.config.RewardConfig;
import org.rlhf4j.config.SftConfig;
import org.rlhf4j.config.StageConfig;
import org.rlhf4j.data.Demonstration;
import org.rlhf4j.data.Preference;
import org.rlhf4j.generate.GenerationConfig;
import org.rlhf4j.json.Json;
import org.rlhf4j.lora.PeftAdapter;
import org.rlhf4j.nn.CausalLm;
import org.rlhf4j.nn.ModelConfig;
import org.rlhf4j.nn.ParameterFiles;
import org.rlhf4j.nn.Policy;
import org.rlhf4j.nn.RewardModel;
import org.rlhf4j.nn.families.Families;
import org.rlhf4j.report.FolderWriter;
import org.rlhf4j.report.HtmlReport;
import org.rlhf4j.report.Progress;
import org.rlhf4j.report.RunFolder;
import org.rlhf4j.report.RunReport;
import org.rlhf4j.tensor.DType;
import org.rlhf4j.tensor.Device;
import org.rlhf4j.tokenizer.ChatTemplate;
import org.rlhf4j.tokenizer.Message;
import org.rlhf4j.tokenizer.Tokenizer;

/** Pre-training, fine-tuning, reward model and PPO, one after the other, and what they came to. */
public final class Demo {
  private static final List<String> FILES =
      List.of(
          "config.json",
          "generation_config.json",
          "tokenizer.json",
          "tokenizer_config.json",
          "chat_template.jinja");

  /**
   * @param out a new or empty folder
   * @param quick a fraction of the steps: shows that everything works, not what it can do
   * @param versions what config.yaml records
   */
  public record Options(Path out, boolean quick, long seed, Map<String, String> versions) {}

  private final Options options;
  private final Device device;
  private final Progress progress;
  private final Consumer<String> say;
  private final DemoData data;
  private final Path modelFolder;
  private Tokenizer tokenizer;
  private ChatTemplate template;

  public Demo(Options options, Device device, Progress progress, Consumer<String> say) {
    this.options = options;
    this.device = device;
    this.progress = progress;
    this.say = say;
    data = DemoData.create(options.seed());
    modelFolder = options.out().resolve("model");
  }

  /**
   * Runs all stages and tells the results. Everything that was made lies in the output folder
   * afterwards.
   */
  public DemoResult run() throws IOException {
    Files.createDirectories(modelFolder);
    for (String name : FILES) {
      try (InputStream in = Demo.class.getResourceAsStream(name)) {
        Files.write(modelFolder.resolve(name), in.readAllBytes());
      }
    }
    writeData();
    tokenizer = Tokenizer.open(modelFolder);
    try {
      template =
          new ChatTemplate(
              Files.readString(modelFolder.resolve("chat_template.jinja")),
              tokenizer.specialTokens());
      makeModel();
      return align();
    } finally {
      tokenizer.close();
    }
  }

  // ---- stages 1 and 2: a model of its own

  private void makeModel() throws IOException {
    ModelConfig config =
        Families.config(
            Json.readObject(modelFolder.resolve("config.json")), modelFolder.toString());
    try (CausalLm model = CausalLm.initialised(device, config, DType.F32, options.seed())) {
      say.accept(
          String.format("1/4 pre-training a model of %,d parameters", config.parameterCount()));
      SftConfig pretrain =
          sft("1-pretrain", 32, options.quick() ? 40 : 500, 3e-3)
              .with("lr_scheduler_type", "cosine");
      stage("pre-training", pretrain, new SftTrainer(model, null, texts(), pretrain), Map.of());

      say.accept("2/4 supervised fine-tuning on questions and answers of mixed quality");
      SftConfig tune = sft("2-sft", 32, options.quick() ? 40 : 400, 2e-3);
      stage("sft", tune, new SftTrainer(model, null, demonstrations(), tune), Map.of());
      ModelFolderWriter.writeWeights(
          modelFolder, ParameterFiles.tensors(model, FloatType.F32), ModelFolderWriter.SHARD_BYTES);
    }
  }

  private SftConfig sft(String name, int batch, int steps, double rate) {
    return SftConfig.defaults()
        .with("model", modelFolder)
        .with("out", options.out().resolve(name))
        .with("training", "full")
        .with("batch_size", batch)
        .with("max_steps", steps)
        .with("learning_rate", rate)
        .with("warmup_steps", 10)
        .with("seed", options.seed());
  }

  // ---- stages 3 and 4: reward model and PPO on the frozen result

  private DemoResult align() throws IOException {
    try (ModelFiles files = ModelFiles.open(modelFolder);
        CausalLm base =
            CausalLm.frozen(
                device,
                Families.config(files.config(), modelFolder.toString()),
                DType.F32,
                files::tensor)) {
      say.accept("3/4 reward model, from preference pairs");
      RewardConfig rewardConfig =
          RewardConfig.defaults()
              .with("model", modelFolder)
              .with("out", options.out().resolve("3-reward"))
              .with("batch_size", 16)
              .with("max_steps", options.quick() ? 12 : 75)
              .with("learning_rate", 2e-3)
              .with("seed", options.seed());
      RewardModel reward =
          RewardModel.create(base, rewardConfig.lora().toLoraConfig(), options.seed());
      stage(
          "reward",
          rewardConfig,
          new RewardTrainer(reward, preferences(), rewardConfig),
          Map.of("adapter", f -> save(reward.adapter(), PeftAdapter.Task.SEQ_CLS, f)));

      say.accept("4/4 PPO against the reward model");
      PpoConfig ppo =
          PpoConfig.defaults()
              .with("model", modelFolder)
              .with("reward_adapter", options.out().resolve("3-reward/adapter"))
              .with("out", options.out().resolve("4-ppo"))
              .with("batch_size", 32)
              .with("mini_batch_size", 8)
              .with("max_steps", options.quick() ? 6 : 70)
              .with("learning_rate", 6e-4)
              .with("init_kl_coef", 0.15)
              .with("max_new_tokens", 48)
              .with("query_template", "chat")
              .with("seed", options.seed());
      Policy policy = Policy.create(base, ppo.lora().toLoraConfig(), options.seed());
      GenerationConfig sampling = GenerationConfig.sampling(48, files.eosIds(), options.seed());
      Evaluation evaluation =
          new Evaluation(base, reward, tokenizer, data.heldOut(), this::prompt, sampling);
      Evaluation.Outcome before = evaluation.of(policy);
      List<int[]> queries = data.queries().stream().map(q -> prompt(q.text())).toList();
      try (RunFolder folder = open(ppo)) {
        before.samples().forEach(s -> folder.sample(0, "before", s.fields()));
        PpoTrainer trainer =
            new PpoTrainer(
                policy,
                null,
                reward,
                new SampledRollouts(policy, queries, sampling),
                ppo,
                (step, scored) ->
                    scored.forEach(
                        s -> {
                          Map<String, Object> line = new LinkedHashMap<>();
                          line.put("query_ids", s.trajectory().query());
                          line.put("response_ids", s.trajectory().response());
                          line.put("score", s.score());
                          line.put("kl", s.kl());
                          line.put("query", tokenizer.decode(s.trajectory().query(), false));
                          line.put("response", tokenizer.decode(s.trajectory().response(), false));
                          folder.rollout(step, line);
                        }));
        loop("ppo", ppo, folder, trainer);
        folder.publish("adapter", f -> save(policy.adapter(), PeftAdapter.Task.CAUSAL_LM, f));
        Evaluation.Outcome after = evaluation.of(policy);
        after.samples().forEach(s -> folder.sample(trainer.stepsDone(), "after", s.fields()));
        policy.adapter().close();
        reward.adapter().close();
        Path report =
            HtmlReport.write(
                List.of("1-pretrain", "2-sft", "3-reward", "4-ppo").stream()
                    .map(options.out()::resolve)
                    .toList(),
                options.out().resolve("report.html"));
        return new DemoResult(before, after, report);
      }
    }
  }

  private void save(org.rlhf4j.lora.LoraAdapter adapter, PeftAdapter.Task task, Path folder)
      throws IOException {
    PeftAdapter.save(adapter, task, modelFolder.toString(), folder);
  }

  private RunFolder open(StageConfig config) {
    return RunFolder.open(config.paths().requiredOut(), config.settings(), options.versions());
  }

  private void stage(
      String name, StageConfig config, Trainer trainer, Map<String, FolderWriter> results) {
    try (RunFolder folder = open(config)) {
      loop(name, config, folder, trainer);
      results.forEach(folder::publish);
    }
  }

  private void loop(String name, StageConfig config, RunFolder folder, Trainer trainer) {
    RunReport report = new RunReport(folder, config.settings(), progress);
    try (trainer) {
      report.begin(name, 0, trainer.totalSteps());
      trainer.train(metrics -> report.step(trainer.stepsDone(), metrics));
    } finally {
      report.end();
    }
  }

  // ---- data as token ids

  private int[] prompt(String question) {
    return tokenizer.encode(template.render(List.of(new Message("user", question)), true), false);
  }

  private static int[] join(int[] a, int[] b) {
    int[] both = java.util.Arrays.copyOf(a, a.length + b.length);
    System.arraycopy(b, 0, both, a.length, b.length);
    return both;
  }

  private int[] answer(String text) {
    return tokenizer.encode(text + tokenizer.specialTokens().eos(), false);
  }

  private List<Demonstration> texts() {
    List<Demonstration> all = new ArrayList<>();
    data.texts().forEach(t -> all.add(new Demonstration(answer(t), 0, all.size() + 1)));
    // Conversations belong to the language that a model sees first.
    data.demonstrations()
        .subList(0, data.demonstrations().size() / 2)
        .forEach(
            e ->
                all.add(
                    new Demonstration(
                        join(prompt(e.question().text()), answer(e.answer())), 0, all.size() + 1)));
    return all;
  }

  private List<Demonstration> demonstrations() {
    List<Demonstration> all = new ArrayList<>();
    data.demonstrations()
        .forEach(
            e -> {
              int[] prompt = prompt(e.question().text());
              all.add(
                  new Demonstration(
                      join(prompt, answer(e.answer())), prompt.length, all.size() + 1));
            });
    return all;
  }

  private List<Preference> preferences() {
    List<Preference> all = new ArrayList<>();
    data.preferences()
        .forEach(
            p -> {
              int[] prompt = prompt(p.question().text());
              all.add(
                  new Preference(
                      join(prompt, answer(p.chosen())),
                      join(prompt, answer(p.rejected())),
                      prompt.length,
                      0,
                      all.size() + 1));
            });
    return all;
  }

  /**
   * The data as files, in the form that the commands read: to look at, and to try the commands on.
   */
  private void writeData() throws IOException {
    Path folder = Files.createDirectories(options.out().resolve("data"));
    lines(folder, "pretrain.jsonl", data.texts().stream().map(t -> Map.of("text", t)).toList());
    lines(
        folder,
        "sft.jsonl",
        data.demonstrations().stream()
            .map(
                e ->
                    Map.of(
                        "messages",
                        List.of(
                            Map.of("role", "user", "content", e.question().text()),
                            Map.of("role", "assistant", "content", e.answer()))))
            .toList());
    lines(
        folder,
        "preferences.jsonl",
        data.preferences().stream()
            .map(
                p -> {
                  Map<String, Object> line = new LinkedHashMap<>();
                  line.put("question", p.question().text());
                  line.put("chosen", p.chosen());
                  line.put("rejected", p.rejected());
                  return line;
                })
            .toList());
    lines(
        folder,
        "queries.jsonl",
        data.queries().stream().map(q -> Map.of("query", q.text())).toList());
    lines(
        folder,
        "held-out.jsonl",
        data.heldOut().stream().map(q -> Map.of("query", q.text())).toList());
  }

  private static void lines(Path folder, String name, List<? extends Map<String, ?>> lines)
      throws IOException {
    StringBuilder text = new StringBuilder();
    for (Map<String, ?> line : lines) {
      text.append(Json.MAPPER.writeValueAsString(line)).append('\n');
    }
    Files.writeString(folder.resolve(name), text, StandardCharsets.UTF_8);
  }
}
