package org.rlhf4j.cli;

import org.rlhf4j.config.StageConfig;
import org.rlhf4j.data.ReadOptions;

/** What the training commands read from their configuration in the same way. */
final class StageOptions {
  private StageOptions() {}

  static ReadOptions reading(StageConfig config, LoadedModel model) {
    int limit = config.training().maxLength();
    ReadOptions options =
        ReadOptions.defaults()
            .withMaxLength(limit > 0 ? limit : model.config().maxPositions())
            .withSkipBadLines(config.training().skipBadLines())
            .withVocabSize(model.config().vocabSize());
    if (!config.settings().flat().containsKey("append_eos")) {
      return options;
    }
    boolean append = Boolean.TRUE.equals(config.settings().flat().get("append_eos"));
    return options.withAppendEos(append ? ReadOptions.AppendEos.YES : ReadOptions.AppendEos.NO);
  }
}
