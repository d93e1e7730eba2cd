package org.rlhf4j.cli;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.Callable;
import org.rlhf4j.InputException;
import org.rlhf4j.checkpoint.ModelFiles;
import org.rlhf4j.checkpoint.SamplingDefaults;
import org.rlhf4j.generate.Generation;
import org.rlhf4j.generate.GenerationConfig;
import org.rlhf4j.generate.Generator;
import org.rlhf4j.lora.LoraAdapter;
import org.rlhf4j.report.Log;
import org.slf4j.Logger;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

@Command(name = "generate", description = "Continues prompts.", mixinStandardHelpOptions = true)
final class GenerateCommand implements Callable<Integer> {
  @Mixin private CommonOptions common;
  @Mixin private InputOptions input;

  @Option(
      names = "--chat",
      description = "each prompt is a user's message, rendered by the model's chat template")
  private boolean chat;

  @Option(names = "--system", paramLabel = "TEXT", description = "with --chat: the system message")
  private String system;

  @Option(names = "--greedy", description = "the likeliest token at each step")
  private boolean greedy;

  @Option(names = "--max-new-tokens", paramLabel = "N", description = "(default: ${DEFAULT-VALUE})")
  private int maxNewTokens = 64;

  @Option(
      names = "--min-new-tokens",
      paramLabel = "N",
      description = "no end before (default: ${DEFAULT-VALUE})")
  private int minNewTokens = 0;

  @Option(
      names = "--temperature",
      paramLabel = "X",
      description = "(default: the model's generation_config.json, else 1)")
  private Double temperature;

  @Option(
      names = "--top-k",
      paramLabel = "N",
      description = "0: all (default: generation_config.json, else 0)")
  private Integer topK;

  @Option(
      names = "--top-p",
      paramLabel = "X",
      description = "1: all (default: generation_config.json, else 1)")
  private Double topP;

  @Option(names = "--ignore-eos", description = "go on to --max-new-tokens")
  private boolean ignoreEos;

  @Override
  public Integer call() {
    common.configureLog();
    check();
    try (LoadedModel model = LoadedModel.open(input, common);
        LoraAdapter adapter = model.adapter(input.adapter, false)) {
      List<int[]> prompts = input.prompts(model, chat, system, maxNewTokens);
      GenerationConfig config = sampling(model.files());
      long began = System.nanoTime();
      List<Generation> all = new Generator(model.lm()).generate(prompts, adapter, config);
      double seconds = (System.nanoTime() - began) / 1e9;
      long tokens = all.stream().mapToLong(g -> g.ids().length).sum();
      if (common.json) {
        Output.json(document(model, all, tokens / seconds));
      } else {
        print(model, all);
        if (!common.quiet) {
          System.err.printf(Locale.ROOT, "%d tokens, %.1f tokens/s%n", tokens, tokens / seconds);
        }
      }
    }
    return 0;
  }

  /** What the flags say; else what the model's makers say, which is then told; else everything. */
  private GenerationConfig sampling(ModelFiles files) {
    SamplingDefaults defaults = files.samplingDefaults();
    Logger log = Log.of(getClass());
    boolean flags = temperature != null || topK != null || topP != null;
    boolean likeliest = greedy || (!flags && Boolean.FALSE.equals(defaults.doSample()));
    List<String> taken = new ArrayList<>();
    if (likeliest && !greedy) {
      taken.add("do_sample false");
    }
    double heat = choose(temperature, defaults.temperature(), 1.0, "temperature", likeliest, taken);
    int some = choose(topK, defaults.topK(), 0, "top_k", likeliest, taken);
    double mass = choose(topP, defaults.topP(), 1.0, "top_p", likeliest, taken);
    if (!taken.isEmpty()) {
      log.info(
          "from the model's generation_config.json: {} (flags go before it)",
          String.join(", ", taken));
    }
    if (defaults.repetitionPenalty() != null && defaults.repetitionPenalty() != 1) {
      log.info(
          "the model's generation_config.json asks for repetition_penalty {}, which is not applied",
          defaults.repetitionPenalty());
    }
    return new GenerationConfig(
        maxNewTokens,
        minNewTokens,
        likeliest ? 0 : (float) heat,
        likeliest ? 0 : some,
        likeliest ? 1 : (float) mass,
        ignoreEos ? Set.of() : files.eosIds(),
        common.seed);
  }

  private static <T> T choose(
      T flag, T file, T otherwise, String name, boolean unused, List<String> taken) {
    if (flag == null && file != null && !file.equals(otherwise) && !unused) {
      taken.add(name + " " + file);
    }
    return flag != null ? flag : file != null ? file : otherwise;
  }

  private void check() {
    if (maxNewTokens < 1) {
      throw new InputException("--max-new-tokens: expected at least 1, found " + maxNewTokens);
    }
    if (minNewTokens < 0 || minNewTokens > maxNewTokens) {
      throw new InputException(
          "--min-new-tokens: expected 0 to " + maxNewTokens + ", found " + minNewTokens);
    }
    if (temperature != null && !(temperature >= 0)) {
      throw new InputException("--temperature: expected 0 or more, found " + temperature);
    }
    if (topK != null && topK < 0) {
      throw new InputException("--top-k: expected 0 or more, found " + topK);
    }
    if (topP != null && !(topP > 0 && topP <= 1)) {
      throw new InputException("--top-p: expected more than 0, at most 1, found " + topP);
    }
  }

  private static Map<String, Object> document(
      LoadedModel model, List<Generation> all, double tokensPerSecond) {
    List<Map<String, Object>> sequences = new ArrayList<>();
    for (Generation g : all) {
      Map<String, Object> s = new LinkedHashMap<>();
      s.put("prompt_ids", g.promptIds());
      s.put("ids", g.ids());
      s.put("text", model.hasTokenizer() ? model.files().tokenizer().decode(g.ids(), true) : null);
      s.put("finish", g.finish().name().toLowerCase(Locale.ROOT));
      sequences.add(s);
    }
    Map<String, Object> document = new LinkedHashMap<>();
    document.put("sequences", sequences);
    document.put("tokens_per_second", tokensPerSecond);
    return document;
  }

  private static void print(LoadedModel model, List<Generation> all) {
    for (Generation g : all) {
      Output.line(
          model.hasTokenizer()
              ? model.files().tokenizer().decode(g.ids(), true)
              : java.util.Arrays.toString(g.ids()));
    }
  }
}
