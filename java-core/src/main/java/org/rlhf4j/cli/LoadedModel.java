package org.rlhf4j.cli;

import java.nio.file.Path;
import java.util.List;
import java.util.Set;
import org.rlhf4j.InputException;
import org.rlhf4j.checkpoint.ModelFiles;
import org.rlhf4j.checkpoint.Quantization;
import org.rlhf4j.config.StageConfig;
import org.rlhf4j.graph.Parameters;
import org.rlhf4j.lora.LoraAdapter;
import org.rlhf4j.lora.PeftAdapter;
import org.rlhf4j.nn.CausalLm;
import org.rlhf4j.nn.ModelConfig;
import org.rlhf4j.nn.Policy;
import org.rlhf4j.nn.RewardModel;
import org.rlhf4j.nn.families.Families;
import org.rlhf4j.report.Log;
import org.rlhf4j.tensor.DType;
import org.rlhf4j.tensor.Device;
import org.rlhf4j.tokenizer.Tokenizer;

/** A model's files, the device, and the model on it. */
final class LoadedModel implements AutoCloseable {
  private final Device device;
  private final ModelFiles files;
  private final CausalLm lm;

  private LoadedModel(Device device, ModelFiles files, CausalLm lm) {
    this.device = device;
    this.files = files;
    this.lm = lm;
  }

  /**
   * Loads {@code --model}.
   *
   * @param quantization of a base that is not trained
   * @param trainable every parameter is to be trained, not an adapter
   */
  static LoadedModel open(
      Path model,
      String deviceName,
      int threads,
      String dtype,
      Quantization quantization,
      boolean trainable) {
    if (model == null) {
      throw new InputException(
          "--model: expected a Hugging Face folder, a GGUF file or org/name, found nothing");
    }
    ModelFiles files = ModelFiles.open(Models.local(model));
    Device device = null;
    try {
      ModelConfig config = Families.config(files.config(), model.toString());
      device = Devices.open(deviceName, threads);
      DType type = dtype(dtype, files);
      if (trainable && quantization == Quantization.AUTO && files.quantization().isNf4()) {
        throw InputException.at(
            model,
            "is stored as "
                + files.quantization().text()
                + ", which cannot be trained whole; quantization: none dequantises it, training:"
                + " lora trains an adapter on it as it is");
      }
      CausalLm lm =
          trainable
              ? CausalLm.trainable(device, config, type, files::tensor)
              : CausalLm.frozen(device, config, type, quantization, files::tensor);
      files.closeWeights();
      device.trim(); // of what the largest tensor passed through
      return new LoadedModel(device, files, lm);
    } catch (RuntimeException e) {
      files.close();
      if (device != null) {
        device.close();
      }
      throw e;
    }
  }

  static LoadedModel open(InputOptions input, CommonOptions options) {
    return open(
        input.model,
        options.device,
        options.threads,
        options.dtype,
        Quantization.parse(input.quantization),
        false);
  }

  /** Loads what a stage's configuration names. */
  static LoadedModel open(StageConfig config, boolean trainable) {
    LoadedModel model =
        open(
            config.paths().requiredModel(),
            config.runtime().device(),
            config.runtime().threads(),
            config.runtime().precision().name().toLowerCase(java.util.Locale.ROOT),
            config.runtime().quantization(),
            trainable);
    Log.of(LoadedModel.class).info("device: {}, {}", model.device, model.device.describe());
    return model;
  }

  /** auto: f32 for checkpoints that are stored so, bf16 for all others. */
  static DType dtype(String name, ModelFiles files) {
    return switch (name) {
      case "f32" -> DType.F32;
      case "bf16" -> DType.BF16;
      case "auto" -> files.storedType().equals("F32") ? DType.F32 : DType.BF16;
      default ->
          throw new InputException("--dtype: expected f32, bf16 or auto, found '" + name + "'");
    };
  }

  Device device() {
    return device;
  }

  ModelFiles files() {
    return files;
  }

  CausalLm lm() {
    return lm;
  }

  /** Whether the model brought a tokenizer: without one, only token ids can be given. */
  boolean hasTokenizer() {
    return files.hasTokenizer();
  }

  Tokenizer tokenizerOrNull() {
    return tokenizerOrNull(files);
  }

  static Tokenizer tokenizerOrNull(ModelFiles files) {
    return files.hasTokenizer() ? files.tokenizer() : null;
  }

  ModelConfig config() {
    return lm.config();
  }

  /**
   * An adapter for generation and log-probabilities, with its value head if it has one; null for
   * null.
   */
  LoraAdapter adapter(Path folder, boolean trainable) {
    return folder == null ? null : load(folder, Policy.valueHead(config()), Set.of(), trainable);
  }

  /** A policy: an adapter whose value head, where the folder has none, says 0. */
  Policy policy(Path folder, boolean trainable) {
    return new Policy(lm, load(folder, Policy.valueHead(config()), Set.of(), trainable));
  }

  /** A reward adapter, whose folder must hold the score head. */
  RewardModel rewardModel(Path folder, boolean trainable) {
    return new RewardModel(
        lm, load(folder, RewardModel.scoreHead(config()), Set.of(RewardModel.SCORE), trainable));
  }

  private LoraAdapter load(
      Path folder, List<Parameters.Spec> heads, Set<String> required, boolean trainable) {
    return PeftAdapter.load(
        device, Models.local(folder), CausalLm.modules(config()), heads, required, trainable);
  }

  @Override
  public void close() {
    lm.close();
    device.close();
    files.close();
  }
}
