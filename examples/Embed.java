import java.nio.file.Path;
import java.util.List;
import org.rlhf4j.algorithms.SftTrainer;
import org.rlhf4j.checkpoint.ModelFiles;
import org.rlhf4j.config.SftConfig;
import org.rlhf4j.data.Demonstration;
import org.rlhf4j.data.Demonstrations;
import org.rlhf4j.generate.Generation;
import org.rlhf4j.generate.GenerationConfig;
import org.rlhf4j.generate.Generator;
import org.rlhf4j.lora.LoraAdapter;
import org.rlhf4j.lora.LoraConfig;
import org.rlhf4j.nn.CausalLm;
import org.rlhf4j.nn.families.Families;
import org.rlhf4j.tensor.DType;
import org.rlhf4j.tensor.Device;

/** The engine inside a program of one's own: an adapter learns from DATA, then the model goes on from PROMPT with it. */
public final class Embed {
  /** MODEL DATA PROMPT: a Hugging Face folder or a GGUF file; lines of prompt and completion; a text. */
  public static void main(String[] args) {
    try (ModelFiles files = ModelFiles.open(Path.of(args[0]));
        Device device = Device.cpu(0);
        CausalLm base =
            CausalLm.frozen(device, Families.config(files.config(), args[0]), DType.F32, files::tensor);
        LoraAdapter adapter =
            new LoraAdapter(device, LoraConfig.rank(8), CausalLm.modules(base.config()), List.of(), true, 42)) {
      List<Demonstration> data = Demonstrations.read(Path.of(args[1]), files.tokenizer()).records();
      SftConfig config = SftConfig.defaults().with("max_steps", 10).with("batch_size", 4).with("learning_rate", 1e-3);
      try (SftTrainer trainer = new SftTrainer(base, adapter, data, config)) {
        trainer.train(metrics -> System.out.println("loss " + metrics.get("loss")));
      }
      List<int[]> prompts = List.of(files.tokenizer().encode(args[2], true));
      for (Generation g : new Generator(base).generate(prompts, adapter, GenerationConfig.greedy(24, files.eosIds()))) {
        System.out.println(args[2] + files.tokenizer().decode(g.ids(), true));
      }
    }
  }
}
