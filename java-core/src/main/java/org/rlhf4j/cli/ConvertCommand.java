package org.rlhf4j.cli;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.Callable;
import org.rlhf4j.InputException;
import org.rlhf4j.checkpoint.FloatType;
import org.rlhf4j.checkpoint.GgufExport;
import org.rlhf4j.checkpoint.GgufType;
import org.rlhf4j.checkpoint.ModelFiles;
import org.rlhf4j.checkpoint.ModelFolderWriter;
import org.rlhf4j.checkpoint.StoredTensor;
import org.rlhf4j.checkpoint.TensorToWrite;
import org.rlhf4j.graph.Parameter;
import org.rlhf4j.lora.LoraAdapter;
import org.rlhf4j.lora.MergedTensor;
import org.rlhf4j.lora.PeftAdapter;
import org.rlhf4j.nn.CausalLm;
import org.rlhf4j.nn.ModelConfig;
import org.rlhf4j.nn.Policy;
import org.rlhf4j.nn.RewardModel;
import org.rlhf4j.nn.families.Families;
import org.rlhf4j.report.AtomicFolder;
import org.rlhf4j.tensor.Device;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

@Command(
    name = "convert",
    description =
        "Writes a Hugging Face folder or, where --out ends in .gguf, a GGUF file; merges an adapter"
            + " into its base; casts (GGUF also to q8_0).",
    mixinStandardHelpOptions = true)
final class ConvertCommand implements Callable<Integer> {
  @Mixin private CommonOptions common;

  @Option(
      names = "--model",
      paramLabel = "PATH",
      required = true,
      description = "a Hugging Face folder or a GGUF file")
  private Path model;

  @Option(
      names = "--adapter",
      paramLabel = "DIR",
      description = "an adapter to merge into the weights")
  private Path adapter;

  @Option(
      names = "--out",
      paramLabel = "PATH",
      required = true,
      description = "a new folder, or a new file NAME.gguf")
  private Path out;

  @Override
  public Integer call() throws IOException {
    common.configureLog();
    if (Files.exists(out)) {
      throw InputException.at(
          out, "expected a new folder or file for --out, found one that exists");
    }
    try (ModelFiles files = ModelFiles.open(model)) {
      FloatType type = isGguf() ? null : type(files);
      if (isGguf()) {
        writeGguf(files);
      } else if (adapter == null) {
        AtomicFolder.write(out, work -> ModelFolderWriter.write(files, work, type));
      } else {
        writeMerged(files, type);
      }
    }
    if (common.json) {
      Output.json(Map.of("out", out.toString()));
    } else {
      Output.line(out.toString());
    }
    return 0;
  }

  /** auto: as stored; quantised files become bf16. */
  private FloatType type(ModelFiles files) {
    if (!common.dtype.equals("auto")) {
      return FloatType.parse(common.dtype);
    }
    String stored = files.storedType();
    return stored.equals("F32")
        ? FloatType.F32
        : stored.equals("F16") ? FloatType.F16 : FloatType.BF16;
  }

  private boolean isGguf() {
    return out.toString().endsWith(".gguf");
  }

  private void writeGguf(ModelFiles files) throws IOException {
    GgufType type = ggufType(files);
    if (adapter == null) {
      GgufExport.write(files, tensor -> tensor, out, type);
      return;
    }
    try (Device device = Device.cpu(common.threads);
        LoraAdapter lora = adapter(files, device)) {
      if (lora.parameters().contains(RewardModel.SCORE)) {
        throw InputException.at(
            adapter, "a score head has no place in a GGUF file; give --out as a folder");
      }
      Map<String, String> modules = modules(files, lora);
      GgufExport.write(
          files,
          tensor -> {
            String module = modules.get(tensor.name());
            return module == null ? tensor : MergedTensor.of(tensor, lora, module);
          },
          out,
          type);
    }
  }

  /** auto: as stored; quantised files become f16, as llama.cpp's converter has it. */
  private GgufType ggufType(ModelFiles files) {
    if (!common.dtype.equals("auto")) {
      return GgufType.parse(common.dtype);
    }
    String stored = files.storedType();
    return stored.equals("F32") || stored.equals("BF16") ? GgufType.parse(stored) : GgufType.F16;
  }

  private LoraAdapter adapter(ModelFiles files, Device device) {
    ModelConfig config = Families.config(files.config(), model.toString());
    boolean scores = PeftAdapter.task(adapter).equals(PeftAdapter.Task.SEQ_CLS.name());
    return scores
        ? PeftAdapter.load(
            device,
            adapter,
            CausalLm.modules(config),
            RewardModel.scoreHead(config),
            Set.of(RewardModel.SCORE),
            false)
        : PeftAdapter.load(
            device, adapter, CausalLm.modules(config), Policy.valueHead(config), Set.of(), false);
  }

  /** The adapter's modules by the names that their matrices have in the file. */
  private static Map<String, String> modules(ModelFiles files, LoraAdapter lora) {
    Map<String, String> modules = new HashMap<>();
    lora.modules().keySet().forEach(m -> modules.put(files.tensor(m + ".weight").name(), m));
    return modules;
  }

  private void writeMerged(ModelFiles files, FloatType type) throws IOException {
    try (Device device = Device.cpu(common.threads);
        LoraAdapter lora = adapter(files, device)) {
      Map<String, String> modules = modules(files, lora);
      List<TensorToWrite> tensors = new ArrayList<>();
      for (StoredTensor t : files.tensors().values()) {
        String module = modules.get(t.name());
        tensors.add(
            module != null
                ? new TensorToWrite(t.name(), type, t.shape(), MergedTensor.of(t, lora, module))
                : TensorToWrite.of(t, type));
      }
      boolean scores = lora.parameters().contains(RewardModel.SCORE);
      if (scores) {
        tensors.removeIf(t -> t.name().equals("lm_head.weight"));
        Parameter head = lora.parameters().get(RewardModel.SCORE);
        tensors.add(
            TensorToWrite.of(head.name(), type, head.value().shape(), head.value().toFloats()));
      }
      AtomicFolder.write(
          out,
          work -> {
            ModelFolderWriter.writeWeights(work, tensors, ModelFolderWriter.SHARD_BYTES);
            ModelFolderWriter.writeConfiguration(files, work, type);
            if (scores) {
              ModelFolderWriter.declareRewardModel(work);
            }
          });
    }
  }
}
