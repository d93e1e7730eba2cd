package org.rlhf4j.cli;

import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.stream.Collectors;
import org.rlhf4j.config.LoraPart;
import org.rlhf4j.config.StageConfig;
import org.rlhf4j.data.DataFiles;
import org.rlhf4j.data.ReadOptions;
import org.rlhf4j.lora.LoraAdapter;
import org.rlhf4j.lora.LoraConfig;
import org.rlhf4j.nn.CausalLm;

/** What the training commands read from their configuration in the same way. */
final class StageOptions {
  private StageOptions() {}

  /** The files of {@code data}. */
  static DataFiles data(StageConfig config) {
    return DataFiles.of(config.paths().requiredData(), config.paths().dataSplit().orElse(null));
  }

  static ReadOptions reading(StageConfig config, LoadedModel model) {
    int limit = config.training().maxLength();
    ReadOptions options =
        ReadOptions.defaults()
            .withMaxLength(limit > 0 ? limit : model.config().maxPositions())
            .withOverlong(
                "filter".equals(config.settings().flat().get("overlong"))
                    ? ReadOptions.Overlong.FILTER
                    : ReadOptions.Overlong.TRUNCATE)
            .withColumns(config.settings().group("columns"))
            .withMarginFromScores(
                Boolean.TRUE.equals(config.settings().flat().get("margin_from_scores")))
            .withSkipBadLines(config.training().skipBadLines())
            .withVocabSize(model.config().vocabSize())
            .withUseChatTemplate("chat".equals(config.settings().flat().get("query_template")));
    if (!config.settings().flat().containsKey("append_eos")) {
      return options;
    }
    boolean append = Boolean.TRUE.equals(config.settings().flat().get("append_eos"));
    return options.withAppendEos(append ? ReadOptions.AppendEos.YES : ReadOptions.AppendEos.NO);
  }

  /**
   * The adapter to train: every name must be that of a linear layer. (PEFT trains what is left of a
   * list with a typing error.)
   */
  static LoraConfig lora(StageConfig config, LoraPart part, LoadedModel model) {
    LoraConfig lora = part.toLoraConfig();
    List<String> modules =
        CausalLm.modules(model.config()).stream().map(LoraAdapter.Module::name).toList();
    for (String target : lora.targetModules()) {
      boolean isName = target.matches("[A-Za-z0-9_.]+");
      if (isName && modules.stream().noneMatch(m -> m.equals(target) || m.endsWith("." + target))) {
        Set<String> names =
            modules.stream()
                .map(m -> m.substring(m.lastIndexOf('.') + 1))
                .collect(Collectors.toCollection(TreeSet::new));
        throw config
            .settings()
            .problem(
                "lora.target_modules", "expected some of " + names + ", found '" + target + "'");
      }
    }
    return lora;
  }
}
