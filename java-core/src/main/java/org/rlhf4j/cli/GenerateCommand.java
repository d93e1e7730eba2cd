package org.rlhf4j.cli;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.Callable;
import org.rlhf4j.InputException;
import org.rlhf4j.generate.Generation;
import org.rlhf4j.generate.GenerationConfig;
import org.rlhf4j.generate.Generator;
import org.rlhf4j.lora.LoraAdapter;
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

  @Option(names = "--temperature", paramLabel = "X", description = "(default: ${DEFAULT-VALUE})")
  private double temperature = 1;

  @Option(names = "--top-k", paramLabel = "N", description = "0: all (default: ${DEFAULT-VALUE})")
  private int topK = 0;

  @Option(names = "--top-p", paramLabel = "X", description = "1: all (default: ${DEFAULT-VALUE})")
  private double topP = 1;

  @Option(names = "--ignore-eos", description = "go on to --max-new-tokens")
  private boolean ignoreEos;

  @Override
  public Integer call() {
    common.configureLog();
    check();
    try (LoadedModel model = LoadedModel.open(input, common);
        LoraAdapter adapter = model.adapter(input.adapter, false)) {
      List<int[]> prompts = input.prompts(model, chat, system, maxNewTokens);
      GenerationConfig config =
          new GenerationConfig(
              maxNewTokens,
              minNewTokens,
              greedy ? 0 : (float) temperature,
              topK,
              (float) topP,
              ignoreEos ? java.util.Set.of() : model.files().eosIds(),
              common.seed);
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

  private void check() {
    if (maxNewTokens < 1) {
      throw new InputException("--max-new-tokens: expected at least 1, found " + maxNewTokens);
    }
    if (minNewTokens < 0 || minNewTokens > maxNewTokens) {
      throw new InputException(
          "--min-new-tokens: expected 0 to " + maxNewTokens + ", found " + minNewTokens);
    }
    if (!(temperature >= 0)) {
      throw new InputException("--temperature: expected 0 or more, found " + temperature);
    }
    if (topK < 0) {
      throw new InputException("--top-k: expected 0 or more, found " + topK);
    }
    if (!(topP > 0 && topP <= 1)) {
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
