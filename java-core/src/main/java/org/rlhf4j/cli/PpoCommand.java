package org.rlhf4j.cli;

import java.io.IOException;
import java.nio.file.Path;
import java.util.AbstractList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.rlhf4j.InputException;
import org.rlhf4j.algorithms.PpoTrainer;
import org.rlhf4j.algorithms.ReplayedRollouts;
import org.rlhf4j.algorithms.RolloutSource;
import org.rlhf4j.algorithms.SampledRollouts;
import org.rlhf4j.algorithms.ScoredTrajectory;
import org.rlhf4j.algorithms.Trajectory;
import org.rlhf4j.config.Command;
import org.rlhf4j.config.PpoConfig;
import org.rlhf4j.config.Settings;
import org.rlhf4j.config.StageConfig;
import org.rlhf4j.data.Dataset;
import org.rlhf4j.data.Queries;
import org.rlhf4j.data.Query;
import org.rlhf4j.data.RecordedRollout;
import org.rlhf4j.data.RecordedRollouts;
import org.rlhf4j.generate.Generation;
import org.rlhf4j.generate.GenerationConfig;
import org.rlhf4j.generate.Generator;
import org.rlhf4j.lora.LoraAdapter;
import org.rlhf4j.lora.PeftAdapter;
import org.rlhf4j.nn.Policy;
import org.rlhf4j.nn.RewardModel;
import org.rlhf4j.report.RunFolder;
import org.slf4j.Logger;

@picocli.CommandLine.Command(
    name = "ppo",
    description = "PPO on queries, against a reward adapter; or on recorded rollouts (--replay).",
    mixinStandardHelpOptions = true)
final class PpoCommand extends TrainingCommand {
  private LoadedModel model;
  private Policy policy;
  private LoraAdapter reference;
  private RewardModel reward;
  private RolloutSource source;
  private GenerationConfig sampling;
  private List<int[]> queries = List.of();

  @Override
  Command command() {
    return Command.PPO;
  }

  @Override
  StageConfig configure(Settings settings) {
    return PpoConfig.from(settings);
  }

  @Override
  void prepare(StageConfig stageConfig, Logger log) {
    PpoConfig config = (PpoConfig) stageConfig;
    if (config.paths().data().isEmpty() == config.paths().replay().isEmpty()) {
      throw new InputException("expected one of --data (queries) and --replay (recorded rollouts)");
    }
    model = LoadedModel.open(config, false);
    sampling =
        new GenerationConfig(
            config.maxNewTokens(),
            config.minNewTokens(),
            (float) config.temperature(),
            config.topK(),
            (float) config.topP(),
            model.files().eosIds(),
            config.training().seed());
    List<RecordedRollout> recorded =
        config.paths().replay().map(f -> recorded(f, config)).orElse(List.of());
    if (!config.paths().data().isEmpty()) {
      readQueries(config, log);
    }
    loadRoles(config);
    if (reward == null
        && (recorded.isEmpty() || !recorded.stream().allMatch(r -> r.score().isPresent()))) {
      throw new InputException(
          "--reward-adapter: expected the reward model's adapter folder, found nothing; only recorded rollouts that"
              + " all have a score do without");
    }
    source =
        recorded.isEmpty()
            ? new SampledRollouts(policy, queries, sampling)
            : new ReplayedRollouts(recorded, model.files().eosIds());
  }

  private List<RecordedRollout> recorded(Path file, PpoConfig config) {
    return RecordedRollouts.read(file, StageOptions.reading(config, model.config())).records();
  }

  private void readQueries(PpoConfig config, Logger log) {
    Dataset<Query> data =
        Queries.read(
            StageOptions.data(config),
            model.tokenizerOrNull(),
            model.files().chatTemplate().orElse(null),
            StageOptions.queries(config, model.config()));
    data.notes().forEach(log::info);
    List<Query> records = data.records();
    queries =
        new AbstractList<>() {
          @Override
          public int[] get(int index) {
            return records.get(index).ids();
          }

          @Override
          public int size() {
            return records.size();
          }
        };
  }

  /**
   * The policy starts from {@code adapter}; then the reference is a frozen copy of it, unless the
   * bare base is asked for.
   */
  private void loadRoles(PpoConfig config) {
    if (config.paths().adapter().isPresent()) {
      Path start = Models.local(config.paths().adapter().get());
      policy = model.policy(start, true);
      // An adapter with a value head is a policy that PPO made: what it is held to is what it came
      // from.
      boolean fromSft = !PeftAdapter.hasValueHead(start);
      if (config.reference().equals("adapter") || (config.reference().equals("auto") && fromSft)) {
        reference = model.adapter(start, false);
      }
    } else {
      policy =
          Policy.create(
              model.lm(),
              StageOptions.lora(config, config.lora(), model),
              config.training().seed());
    }
    reward =
        config.paths().rewardAdapter().map(folder -> model.rewardModel(folder, false)).orElse(null);
  }

  @Override
  void run(StageConfig stageConfig, Stage stage) throws IOException {
    PpoConfig config = (PpoConfig) stageConfig;
    String base = config.paths().requiredModel().toString();
    boolean fresh = !(config.paths().resume() && stage.folder().latestCheckpoint().isPresent());
    try (PpoTrainer trainer =
        new PpoTrainer(
            policy,
            reference,
            reward,
            source,
            config,
            (step, scored) -> write(stage.folder(), step, scored))) {
      if (fresh) {
        stage.folder().truncateTo(0);
        samples(stage.folder(), 0, "before", config);
      }
      drive(
          config,
          stage,
          trainer,
          Map.of(
              "adapter",
              folder ->
                  PeftAdapter.save(policy.adapter(), PeftAdapter.Task.CAUSAL_LM, base, folder)));
      samples(stage.folder(), trainer.stepsDone(), "after", config);
    }
  }

  private void write(RunFolder folder, long step, List<ScoredTrajectory> scored) {
    for (ScoredTrajectory s : scored) {
      Trajectory t = s.trajectory();
      Map<String, Object> line = new LinkedHashMap<>();
      line.put("query_ids", t.query());
      line.put("response_ids", t.response());
      line.put("score", s.score());
      line.put("kl", s.kl());
      line.put("query", text(t.query()));
      line.put("response", text(t.response()));
      folder.rollout(step, line);
    }
  }

  /** Answers to the first queries, with the same random numbers before and after. */
  private void samples(RunFolder folder, long step, String when, PpoConfig config) {
    folder.forgetSamples(when);
    List<int[]> some = queries.subList(0, Math.min(queries.size(), config.numSampleGenerations()));
    if (some.isEmpty() || !model.hasTokenizer()) {
      return;
    }
    for (Generation g : new Generator(model.lm()).generate(some, policy.adapter(), sampling)) {
      Map<String, Object> sample = new LinkedHashMap<>();
      sample.put("query", text(g.promptIds()));
      sample.put("response", text(g.ids()));
      if (reward != null) {
        sample.put(
            "score", reward.score(List.of(new Trajectory(g.promptIds(), g.ids(), true).ids()))[0]);
      }
      folder.sample(step, when, sample);
    }
  }

  private String text(int[] ids) {
    return model.hasTokenizer() ? model.files().tokenizer().decode(ids, false) : null;
  }

  @Override
  void release() {
    if (policy != null) {
      policy.adapter().close();
    }
    if (reference != null) {
      reference.close();
    }
    if (reward != null) {
      reward.adapter().close();
    }
    if (model != null) {
      model.close();
    }
  }
}
