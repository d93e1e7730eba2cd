package org.rlhf4j.cli;

import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.rlhf4j.algorithms.SftTrainer;
import org.rlhf4j.checkpoint.FloatType;
import org.rlhf4j.checkpoint.ModelFolderWriter;
import org.rlhf4j.checkpoint.Quantization;
import org.rlhf4j.config.Command;
import org.rlhf4j.config.Settings;
import org.rlhf4j.config.SftConfig;
import org.rlhf4j.config.StageConfig;
import org.rlhf4j.data.DataFiles;
import org.rlhf4j.data.Dataset;
import org.rlhf4j.data.Demonstration;
import org.rlhf4j.data.Demonstrations;
import org.rlhf4j.lora.LoraAdapter;
import org.rlhf4j.lora.PeftAdapter;
import org.rlhf4j.nn.CausalLm;
import org.rlhf4j.nn.ParameterFiles;
import org.rlhf4j.report.FolderWriter;
import org.slf4j.Logger;

@picocli.CommandLine.Command(
    name = "sft",
    description = "Supervised fine-tuning of an adapter, or of all weights (training=full).",
    mixinStandardHelpOptions = true)
final class SftCommand extends TrainingCommand {
  private LoadedModel model;
  private LoraAdapter adapter;
  private Dataset<Demonstration> data;

  @Override
  Command command() {
    return Command.SFT;
  }

  @Override
  StageConfig configure(Settings settings) {
    return SftConfig.from(settings);
  }

  @Override
  void prepare(StageConfig stageConfig, Logger log) {
    SftConfig config = (SftConfig) stageConfig;
    DataFiles files = StageOptions.data(config);
    model = LoadedModel.open(config, config.full());
    data =
        Demonstrations.read(
            files,
            model.tokenizerOrNull(),
            model.files().chatTemplate().orElse(null),
            StageOptions.reading(config, model.config()));
    data.notes().forEach(log::info);
    if (!config.full()) {
      adapter =
          config
              .paths()
              .adapter()
              .map(folder -> model.adapter(folder, true))
              .orElseGet(
                  () ->
                      new LoraAdapter(
                          model.device(),
                          StageOptions.lora(config, config.lora(), model),
                          CausalLm.modules(model.config()),
                          List.of(),
                          true,
                          config.training().seed()));
    }
  }

  @Override
  void run(StageConfig stageConfig, Stage stage) throws IOException {
    SftConfig config = (SftConfig) stageConfig;
    String base = config.paths().requiredModel().toString();
    try (SftTrainer trainer = new SftTrainer(model.lm(), adapter, data.records(), config)) {
      Map<String, FolderWriter> result =
          config.full()
              ? Map.of("model", this::writeModel)
              : Map.of(
                  "adapter",
                  folder -> PeftAdapter.save(adapter, PeftAdapter.Task.CAUSAL_LM, base, folder));
      drive(config, stage, trainer, result);
    }
  }

  /** All weights, as a Hugging Face folder. */
  private void writeModel(Path folder) throws IOException {
    FloatType type = FloatType.valueOf(model.lm().dtype().name());
    ModelFolderWriter.writeWeights(
        folder, ParameterFiles.tensors(model.lm(), type), ModelFolderWriter.SHARD_BYTES);
    ModelFolderWriter.writeConfiguration(model.files(), folder, type, Quantization.NONE);
  }

  @Override
  void release() {
    if (adapter != null) {
      adapter.close();
    }
    if (model != null) {
      model.close();
    }
  }
}
