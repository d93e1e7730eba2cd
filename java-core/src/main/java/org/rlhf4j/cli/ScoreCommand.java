package org.rlhf4j.cli;

import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.Callable;
import org.rlhf4j.InputException;
import org.rlhf4j.lora.LoraAdapter;
import org.rlhf4j.nn.RewardModel;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;

@Command(
    name = "score",
    description = "Reward-model scores of given sequences.",
    mixinStandardHelpOptions = true)
final class ScoreCommand implements Callable<Integer> {
  @Mixin private CommonOptions common;
  @Mixin private InputOptions input;

  @Override
  public Integer call() {
    common.configureLog();
    if (input.adapter == null) {
      throw new InputException(
          "--adapter: expected the reward model's adapter folder, found nothing");
    }
    try (LoadedModel model = LoadedModel.open(input, common)) {
      RewardModel reward = model.rewardModel(input.adapter, false);
      try (LoraAdapter owned = reward.adapter()) {
        List<int[]> sequences = input.sequences(model);
        float[] scores = reward.score(sequences);
        if (common.json) {
          Output.json(Map.of("scores", scores));
        } else {
          for (float s : scores) {
            Output.line(String.format(Locale.ROOT, "%.6f", s));
          }
        }
      }
    }
    return 0;
  }
}
