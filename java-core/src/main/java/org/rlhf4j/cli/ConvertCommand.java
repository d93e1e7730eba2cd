package org.rlhf4j.cli;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.Callable;
import java.util.function.Function;
import java.util.stream.Collectors;
import org.rlhf4j.InputException;
import org.rlhf4j.checkpoint.BitsAndBytes;
import org.rlhf4j.checkpoint.ConvertedTensor;
import org.rlhf4j.checkpoint.FloatSource;
import org.rlhf4j.checkpoint.FloatType;
import org.rlhf4j.checkpoint.GgufExport;
import org.rlhf4j.checkpoint.GgufType;
import org.rlhf4j.checkpoint.ModelFiles;
import org.rlhf4j.checkpoint.ModelFolderWriter;
import org.rlhf4j.checkpoint.Nf4Tensor;
import org.rlhf4j.checkpoint.Quantization;
import org.rlhf4j.checkpoint.StoredTensor;
import org.rlhf4j.checkpoint.TensorToWrite;
import org.rlhf4j.graph.Parameter;
import org.rlhf4j.lora.LoraAdapter;
import org.rlhf4j.lora.MergedTensor;
import org.rlhf4j.lora.PeftAdapter;
import org.rlhf4j.nn.CausalLm;
import org.rlhf4j.nn.ModelConfig;
import org.rlhf4j.nn.Nf4Matrices;
import org.rlhf4j.nn.Policy;
import org.rlhf4j.nn.RewardModel;
import org.rlhf4j.nn.families.Families;
import org.rlhf4j.report.AtomicFolder;
import org.rlhf4j.report.Log;
import org.rlhf4j.tensor.Device;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

@Command(
    name = "convert",
    description =
        "Writes a Hugging Face folder or, where --out ends in .gguf, a GGUF file; merges an adapter"
            + " into its base; casts (GGUF also to q8_0); quantises.",
    mixinStandardHelpOptions = true)
final class ConvertCommand implements Callable<Integer> {
  @Mixin private CommonOptions common;

  @Option(names = "--model", paramLabel = "PATH", required = true, description = Models.MODEL)
  private Path model;

  @Option(
      names = "--adapter",
      paramLabel = "DIR",
      description = Models.ADAPTER + ", to merge into the weights")
  private Path adapter;

  @Option(
      names = "--out",
      paramLabel = "PATH",
      required = true,
      description = "a new folder, or a new file NAME.gguf")
  private Path out;

  @Option(
      names = "--quantization",
      paramLabel = "auto|none|nf4|nf4-double",
      description =
          "of the layers' matrices; auto: as the model has them, with --adapter none (default: ${DEFAULT-VALUE})")
  private String quantization = Quantization.AUTO.text();

  @Override
  public Integer call() throws IOException {
    common.configureLog();
    Quantization asked = Quantization.parse(quantization);
    if (Files.exists(out)) {
      throw InputException.at(
          out, "expected a new folder or file for --out, found one that exists");
    }
    try (ModelFiles files = ModelFiles.open(Models.local(model));
        Device device = Device.cpu(common.threads);
        LoraAdapter lora = adapter == null ? null : adapter(files, device)) {
      if (isGguf()) {
        writeGguf(files, lora, asked);
      } else {
        writeFolder(files, device, lora, asked);
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

  private void writeGguf(ModelFiles files, LoraAdapter lora, Quantization asked)
      throws IOException {
    if (asked.isNf4()) {
      throw new InputException(
          "--quantization: "
              + asked.text()
              + " has no place in a GGUF file; expected --dtype q8_0");
    }
    if (lora != null && hasScore(lora)) {
      throw InputException.at(
          adapter, "a score head has no place in a GGUF file; give --out as a folder");
    }
    Map<String, LoraAdapter.Module> modules = lora == null ? Map.of() : modules(files);
    GgufExport.write(
        files, tensor -> merged(tensor, modules.get(tensor.name()), lora), out, ggufType(files));
  }

  private void writeFolder(ModelFiles files, Device device, LoraAdapter lora, Quantization asked)
      throws IOException {
    FloatType type = type(files);
    Quantization target = target(files, asked);
    List<TensorToWrite> tensors = tensors(files, device, lora, type, asked, target);
    boolean scores = lora != null && hasScore(lora);
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
          ModelFolderWriter.writeConfiguration(files, work, type, target);
          if (scores) {
            ModelFolderWriter.declareRewardModel(work);
          }
        });
  }

  private static boolean hasScore(LoraAdapter lora) {
    return lora.parameters().contains(RewardModel.SCORE);
  }

  /** The tensor itself where the adapter has nothing for it. */
  private static FloatSource merged(
      StoredTensor tensor, LoraAdapter.Module module, LoraAdapter lora) {
    boolean has = lora != null && module != null && lora.hasModule(module.name());
    return has ? MergedTensor.of(tensor, lora, module.name()) : tensor;
  }

  /** auto: as stored; quantised files become f16, as llama.cpp's converter has it. */
  private GgufType ggufType(ModelFiles files) {
    if (!common.dtype.equals("auto")) {
      return GgufType.parse(common.dtype);
    }
    String stored = files.storedType();
    return stored.equals("F32") || stored.equals("BF16") ? GgufType.parse(stored) : GgufType.F16;
  }

  /** What the new folder says of its weights. */
  private Quantization target(ModelFiles files, Quantization asked) {
    if (asked != Quantization.AUTO || !files.quantization().isNf4()) {
      return asked == Quantization.AUTO ? Quantization.NONE : asked;
    }
    if (adapter == null) {
      return files.quantization();
    }
    Log.of(ConvertCommand.class)
        .info(
            "the base is stored as {}: it is dequantised, and what the adapter adds is not quantised"
                + " (--quantization {} does that, with a loss of its own)",
            files.quantization().text(),
            files.quantization().text());
    return Quantization.NONE;
  }

  private LoraAdapter adapter(ModelFiles files, Device device) {
    ModelConfig config = Families.config(files.config(), model.toString());
    Path folder = Models.local(adapter);
    boolean scores = PeftAdapter.task(folder).equals(PeftAdapter.Task.SEQ_CLS.name());
    return scores
        ? PeftAdapter.load(
            device,
            folder,
            CausalLm.modules(config),
            RewardModel.scoreHead(config),
            Set.of(RewardModel.SCORE),
            false)
        : PeftAdapter.load(
            device, folder, CausalLm.modules(config), Policy.valueHead(config), Set.of(), false);
  }

  /** The linear layers by what the file calls their matrices. */
  private Map<String, LoraAdapter.Module> modules(ModelFiles files) {
    ModelConfig config = Families.config(files.config(), model.toString());
    return CausalLm.modules(config).stream()
        .collect(
            Collectors.toMap(m -> files.tensor(m.name() + ".weight").name(), Function.identity()));
  }

  private List<TensorToWrite> tensors(
      ModelFiles files,
      Device device,
      LoraAdapter lora,
      FloatType type,
      Quantization asked,
      Quantization target) {
    Map<String, LoraAdapter.Module> modules =
        lora != null || asked.isNf4() ? modules(files) : Map.of();
    List<TensorToWrite> tensors = new ArrayList<>();
    for (StoredTensor t : files.tensors().values()) {
      LoraAdapter.Module module = modules.get(t.name());
      FloatSource values = merged(t, module, lora);
      Nf4Tensor stored = values == t && t instanceof Nf4Tensor q ? q : null;
      if (target.isNf4() && stored != null) {
        tensors.addAll(
            BitsAndBytes.split(
                t.name(), t.shape(), target.isNested(), stored.original(), () -> stored));
      } else if (target.isNf4() && module != null) {
        tensors.addAll(quantised(device, t, values, module, type, target.isNested()));
      } else {
        tensors.add(new TensorToWrite(t.name(), type, t.shape(), values));
      }
    }
    return tensors;
  }

  /** A matrix is quantised as [out, in], whichever way it was stored. */
  private static List<TensorToWrite> quantised(
      Device device,
      StoredTensor t,
      FloatSource values,
      LoraAdapter.Module module,
      FloatType type,
      boolean nested) {
    long[] shape = {module.out(), module.in()};
    FloatSource rows =
        module.fanInFanOut() ? ConvertedTensor.transposed(values, t.shape()) : values;
    return BitsAndBytes.split(
        t.name(),
        shape,
        nested,
        type,
        () -> Nf4Matrices.quantise(device, t.name(), shape, rows, type, nested));
  }
}
