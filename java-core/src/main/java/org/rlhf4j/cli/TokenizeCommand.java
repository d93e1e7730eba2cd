package org.rlhf4j.cli;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import org.rlhf4j.InputException;
import org.rlhf4j.checkpoint.ModelFiles;
import org.rlhf4j.data.ReadOptions;
import org.rlhf4j.data.Text;
import org.rlhf4j.data.Texts;
import org.rlhf4j.tokenizer.Tokenizer;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

@Command(
    name = "tokenize",
    description = "Text to ids and back, and chat-template rendering.",
    mixinStandardHelpOptions = true)
final class TokenizeCommand implements Callable<Integer> {
  @Mixin private CommonOptions common;

  @Option(names = "--model", paramLabel = "PATH", required = true, description = Models.MODEL)
  private Path model;

  @Option(
      names = {"--text", "--prompt"},
      paramLabel = "TEXT",
      description = "may be repeated")
  private List<String> texts = List.of();

  @Option(names = "--data", paramLabel = "FILE", description = "lines of text or messages")
  private Path data;

  @Option(names = "--chat", description = "render by the chat template; a text is a user's message")
  private boolean chat;

  @Option(
      names = "--system",
      paramLabel = "TEXT",
      description = "with --chat and --text: the system message")
  private String system;

  @Option(names = "--add-generation-prompt", description = "with --chat: open the assistant's turn")
  private boolean addGenerationPrompt;

  @Option(
      names = "--add-special-tokens",
      description = "let the tokenizer add its own (many add BOS)")
  private boolean addSpecialTokens;

  @Override
  public Integer call() {
    common.configureLog();
    if (texts.isEmpty() == (data == null)) {
      throw new InputException("expected one of --text and --data");
    }
    try (ModelFiles files = ModelFiles.open(Models.local(model))) {
      Tokenizer tokenizer = files.tokenizer();
      List<Map<String, Object>> sequences = new ArrayList<>();
      for (String text : texts) {
        String rendered =
            chat
                ? InputOptions.template(files)
                    .render(InputOptions.messages(system, text), addGenerationPrompt)
                : text;
        add(
            sequences,
            tokenizer,
            tokenizer.encode(rendered, addSpecialTokens && !chat),
            chat ? rendered : null);
      }
      if (data != null) {
        ReadOptions options =
            ReadOptions.defaults()
                .withUseChatTemplate(chat)
                .withAddGenerationPrompt(addGenerationPrompt)
                .withAddSpecialTokens(addSpecialTokens);
        for (Text t :
            Texts.read(data, tokenizer, files.chatTemplate().orElse(null), options).records()) {
          add(sequences, tokenizer, t.ids(), chat ? t.text() : null);
        }
      }
      if (common.json) {
        Output.json(Map.of("sequences", sequences));
      } else {
        for (Map<String, Object> s : sequences) {
          Output.line(Arrays.toString((int[]) s.get("ids")));
          Output.line((String) s.get("text"));
        }
      }
    }
    return 0;
  }

  private static void add(
      List<Map<String, Object>> sequences, Tokenizer tokenizer, int[] ids, String rendered) {
    Map<String, Object> s = new LinkedHashMap<>();
    s.put("ids", ids);
    s.put("text", rendered != null ? rendered : tokenizer.decode(ids, false));
    sequences.add(s);
  }
}
