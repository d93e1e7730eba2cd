package org.rlhf4j.cli;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.Callable;
import java.util.function.Function;
import org.rlhf4j.InputException;
import org.rlhf4j.checkpoint.FloatSource;
import org.rlhf4j.checkpoint.FloatType;
import org.rlhf4j.checkpoint.GgufExport;
import org.rlhf4j.checkpoint.GgufType;
import org.rlhf4j.checkpoint.ModelFiles;
import org.rlhf4j.checkpoint.ModelFolderWriter;
import org.rlhf4j.checkpoint.StoredTensor;
import org.rlhf4j.lora.LoraAdapter;
import org.rlhf4j.lora.MergedTensor;
import org.rlhf4j.lora.PeftAdapter;
import org.rlhf4j.nn.CausalLm;
import org.rlhf4j.nn.ModelConfig;
import org.rlhf4j.nn.Policy;
import org.rlhf4j.report.AtomicFolder;
import org.rlhf4j.tensor.Device;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

@Command(
    name = "convert",
    description = {
      "Writes a model as a Hugging Face folder or, where --out ends in .gguf, as one GGUF file;",
      "merges an adapter into its base; casts (GGUF also --dtype f16 and q8_0)."
    },
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
    boolean gguf = out.getFileName() != null && out.getFileName().toString().endsWith(".gguf");
    if (Files.exists(out)) {
      throw InputException.at(
          out,
          "expected a new " + (gguf ? "file" : "folder") + " for --out, found one that exists");
    }
    try (ModelFiles files = ModelFiles.open(model)) {
      if (adapter == null) {
        write(files, tensor -> tensor, gguf);
      } else {
        ModelConfig config = ModelConfig.from(files.config(), model.toString());
        try (Device device = Device.cpu(common.threads);
            LoraAdapter lora = adapter(device, config)) {
          write(files, tensor -> merged(tensor, lora), gguf);
        }
      }
    }
    if (common.json) {
      Output.json(Map.of("out", out.toString()));
    } else {
      Output.line(out.toString());
    }
    return 0;
  }

  /**
   * @param values gives each tensor's values, which may have an adapter merged in
   */
  private void write(ModelFiles files, Function<StoredTensor, FloatSource> values, boolean gguf)
      throws IOException {
    if (gguf) {
      GgufExport.write(files, values, out, ggufType(files));
      return;
    }
    FloatType type = type(files);
    AtomicFolder.write(out, work -> ModelFolderWriter.write(files, values, work, type));
  }

  /** auto: as stored; quantised files become bf16. */
  private FloatType type(ModelFiles files) {
    return common.dtype.equals("auto")
        ? storedType(files, FloatType.BF16)
        : FloatType.parse(common.dtype);
  }

  /** auto: as stored; quantised files become f16, as llama.cpp's converter has it. */
  private GgufType ggufType(ModelFiles files) {
    return common.dtype.equals("auto")
        ? GgufType.of(storedType(files, FloatType.F16))
        : GgufType.parse(common.dtype);
  }

  private static FloatType storedType(ModelFiles files, FloatType otherwise) {
    String stored = files.tensor("model.embed_tokens.weight").storedType();
    return Arrays.stream(FloatType.values())
        .filter(t -> t.name().equals(stored))
        .findFirst()
        .orElse(otherwise);
  }

  private LoraAdapter adapter(Device device, ModelConfig config) {
    return PeftAdapter.load(
        device, adapter, CausalLm.modules(config), Policy.valueHead(config), Set.of(), false);
  }

  private static FloatSource merged(StoredTensor tensor, LoraAdapter lora) {
    String module = tensor.name().replaceAll("\\.weight$", "");
    boolean isMatrix = tensor.name().endsWith(".weight");
    return isMatrix && lora.hasModule(module) ? MergedTensor.of(tensor, lora, module) : tensor;
  }
}
