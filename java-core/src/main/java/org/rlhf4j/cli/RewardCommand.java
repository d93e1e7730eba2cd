package org.rlhf4j.cli;

import java.io.IOException;
import java.util.Map;
import org.rlhf4j.algorithms.RewardTrainer;
import org.rlhf4j.config.Command;
import org.rlhf4j.config.RewardConfig;
import org.rlhf4j.config.Settings;
import org.rlhf4j.config.StageConfig;
import org.rlhf4j.data.DataFiles;
import org.rlhf4j.data.Dataset;
import org.rlhf4j.data.Preference;
import org.rlhf4j.data.Preferences;
import org.rlhf4j.lora.PeftAdapter;
import org.rlhf4j.nn.RewardModel;
import org.rlhf4j.report.Finding;
import org.rlhf4j.report.HealthChecks;
import org.slf4j.Logger;

@picocli.CommandLine.Command(
    name = "reward",
    description = "Trains a reward model from preference pairs.",
    mixinStandardHelpOptions = true)
final class RewardCommand extends TrainingCommand {
  private LoadedModel model;
  private RewardModel reward;
  private Dataset<Preference> data;

  @Override
  Command command() {
    return Command.REWARD;
  }

  @Override
  StageConfig configure(Settings settings) {
    return RewardConfig.from(settings);
  }

  @Override
  void prepare(StageConfig stageConfig, Logger log) {
    RewardConfig config = (RewardConfig) stageConfig;
    DataFiles files = StageOptions.data(config);
    model = LoadedModel.open(config, false);
    data =
        Preferences.read(
            files,
            model.tokenizerOrNull(),
            model.files().chatTemplate().orElse(null),
            StageOptions.reading(config, model.config()));
    data.notes().forEach(log::info);
    for (Finding f :
        HealthChecks.ofPairs(
            data.records().size(),
            i -> data.records().get(i).chosenIds(),
            i -> data.records().get(i).rejectedIds(),
            config.training().maxLength())) {
      log.warn(f.text());
    }
    reward =
        config
            .paths()
            .adapter()
            .map(folder -> model.rewardModel(folder, true))
            .orElseGet(
                () ->
                    RewardModel.create(
                        model.lm(),
                        StageOptions.lora(config, config.lora(), model),
                        config.training().seed()));
  }

  @Override
  void run(StageConfig stageConfig, Stage stage) throws IOException {
    RewardConfig config = (RewardConfig) stageConfig;
    String base = config.paths().requiredModel().toString();
    try (RewardTrainer trainer = new RewardTrainer(reward, data.records(), config)) {
      drive(
          config,
          stage,
          trainer,
          Map.of(
              "adapter",
              folder ->
                  PeftAdapter.save(reward.adapter(), PeftAdapter.Task.SEQ_CLS, base, folder)));
    }
  }

  @Override
  void release() {
    if (reward != null) {
      reward.adapter().close();
    }
    if (model != null) {
      model.close();
    }
  }
}
