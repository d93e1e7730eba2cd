package org.rlhf4j.cli;

import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.stream.Collectors;
import org.rlhf4j.config.LoraPart;
import org.rlhf4j.config.PpoConfig;
import org.rlhf4j.config.StageConfig;
import org.rlhf4j.data.DataFiles;
import org.rlhf4j.data.ReadOptions;
import org.rlhf4j.lora.LoraAdapter;
import org.rlhf4j.lora.LoraConfig;
import org.rlhf4j.lora.ModulePattern;
import org.rlhf4j.nn.CausalLm;
import org.rlhf4j.nn.ModelConfig;

/** What the training commands read from their configuration in the same way. */
final class StageOptions {
  private StageOptions() {}

  /** The files of {@code data}. */
  static DataFiles data(StageConfig config) {
    return DataFiles.of(config.paths().requiredData(), config.paths().dataSplit().orElse(null));
  }

  static ReadOptions reading(StageConfig config, ModelConfig model) {
    int limit = config.training().maxLength();
    ReadOptions options =
        ReadOptions.defaults()
            .withMaxLength(limit > 0 ? limit : model.maxPositions())
            .withOverlong(
                "filter".equals(config.settings().flat().get("overlong"))
                    ? ReadOptions.Overlong.FILTER
                    : ReadOptions.Overlong.TRUNCATE)
            .withColumns(config.settings().group("columns"))
            .withMarginFromScores(
                Boolean.TRUE.equals(config.settings().flat().get("margin_from_scores")))
            .withSkipBadLines(config.training().skipBadLines())
            .withVocabSize(model.vocabSize())
            .withUseChatTemplate("chat".equals(config.settings().flat().get("query_template")));
    if (!config.settings().flat().containsKey("append_eos")) {
      return options;
    }
    boolean append = Boolean.TRUE.equals(config.settings().flat().get("append_eos"));
    return options.withAppendEos(append ? ReadOptions.AppendEos.YES : ReadOptions.AppendEos.NO);
  }

  /** Queries leave room for their responses. */
  static ReadOptions queries(PpoConfig config, ModelConfig model) {
    ReadOptions options = reading(config, model);
    int room = options.maxLength() - config.maxNewTokens();
    if (room < 1) {
      throw config
          .settings()
          .problem(
              "max_new_tokens",
              config.maxNewTokens()
                  + " leaves no room for a query: the model is made for "
                  + options.maxLength()
                  + " tokens");
    }
    int limit = config.maxPromptLength();
    return options.withMaxLength(limit > 0 ? Math.min(room, limit) : room);
  }

  /**
   * The adapter to train: every name must be that of a linear layer. (PEFT trains what is left of a
   * list with a typing error.)
   */
  static LoraConfig lora(StageConfig config, LoraPart part, LoadedModel model) {
    LoraConfig lora = part.toLoraConfig();
    List<String> modules =
        CausalLm.modules(model.config()).stream().map(LoraAdapter.Module::name).toList();
    named(config, "lora.target_modules", lora.targets().modules(), modules);
    named(config, "lora.exclude_modules", lora.targets().excluded(), modules);
    return lora;
  }

  private static void named(
      StageConfig config, String key, ModulePattern pattern, List<String> modules) {
    if (!(pattern instanceof ModulePattern.Names list)) {
      return;
    }
    for (String name : list.names()) {
      if (modules.stream().noneMatch(ModulePattern.names(name)::matches)) {
        Set<String> names =
            modules.stream()
                .map(m -> m.substring(m.lastIndexOf('.') + 1))
                .collect(Collectors.toCollection(TreeSet::new));
        throw config
            .settings()
            .problem(key, "expected some of " + names + ", found '" + name + "'");
      }
    }
  }
}
