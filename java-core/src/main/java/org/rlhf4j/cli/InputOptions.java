package org.rlhf4j.cli;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.rlhf4j.InputException;
import org.rlhf4j.checkpoint.ModelFiles;
import org.rlhf4j.checkpoint.Quantization;
import org.rlhf4j.data.Dataset;
import org.rlhf4j.data.ReadOptions;
import org.rlhf4j.data.Text;
import org.rlhf4j.data.Texts;
import org.rlhf4j.data.TokenIds;
import org.rlhf4j.lora.PeftAdapter;
import org.rlhf4j.report.Log;
import org.rlhf4j.tokenizer.ChatTemplate;
import org.rlhf4j.tokenizer.Message;
import picocli.CommandLine.Option;

/** The model and the sequences that a command works on. */
public final class InputOptions {
  @Option(names = "--model", paramLabel = "PATH", description = Models.MODEL)
  Path model;

  @Option(
      names = "--quantization",
      paramLabel = "auto|none|nf4|nf4-double",
      description =
          "of the base's matrices; auto: as the model has them (default: ${DEFAULT-VALUE})")
  String quantization = Quantization.AUTO.text();

  @Option(names = "--adapter", paramLabel = "DIR", description = Models.ADAPTER)
  Path adapter;

  @Option(
      names = {"--prompt", "--text"},
      paramLabel = "TEXT",
      description = "one text; may be repeated")
  List<String> texts = List.of();

  @Option(
      names = "--data",
      paramLabel = "FILE",
      description =
          "texts or conversations: a .jsonl, .json, .csv, .tsv or .parquet file, a folder or a glob, with text,"
              + " prompt, query, messages or input_ids")
  Path data;

  @Option(
      names = "--ids",
      paramLabel = "FILE.json",
      description = "{\"input_ids\": [[…], …]}: sequences of token ids")
  Path ids;

  @Option(
      names = "--columns",
      paramLabel = "FIELD=COLUMN",
      description = "with --data: what a field is called in the files; may be repeated")
  Map<String, String> columns = Map.of();

  @Option(names = "--skip-bad-lines", description = "with --data: count bad lines and go on")
  boolean skipBadLines;

  /** Sequences to judge: as they are, conversations as the chat template renders them. */
  List<int[]> sequences(LoadedModel model) {
    return fitting(read(model, false, null, false), model, 0);
  }

  /** Prompts to continue by up to {@code newTokens}. */
  List<int[]> prompts(LoadedModel model, boolean chat, String system, int newTokens) {
    return fitting(read(model, chat, system, true), model, newTokens);
  }

  /**
   * Positions beyond those that a model was trained on are allowed, and its answers there worth
   * little.
   */
  private static List<int[]> fitting(List<int[]> sequences, LoadedModel model, int newTokens) {
    int longest = sequences.stream().mapToInt(s -> s.length).max().orElse(0) + newTokens;
    if (longest > model.config().maxPositions()) {
      Log.of(InputOptions.class)
          .warn(
              "{} tokens are more than the {} that the model is made for",
              longest,
              model.config().maxPositions());
    }
    return sequences;
  }

  private List<int[]> read(LoadedModel loaded, boolean chat, String system, boolean toContinue) {
    int given = (texts.isEmpty() ? 0 : 1) + (data == null ? 0 : 1) + (ids == null ? 0 : 1);
    if (given != 1) {
      throw new InputException(
          "expected one of --prompt, --data and --ids, found " + (given == 0 ? "none" : given));
    }
    if (system != null && !chat) {
      throw new InputException("--system: goes with --chat");
    }
    int vocabulary = loaded.config().vocabSize();
    if (ids != null) {
      return TokenIds.read(ids, vocabulary);
    }
    ModelFiles files = loaded.files();
    if (data != null) {
      ReadOptions options =
          ReadOptions.defaults()
              .withSkipBadLines(skipBadLines)
              .withColumns(columns)
              .withUseChatTemplate(chat)
              .withAddGenerationPrompt(toContinue)
              .withVocabSize(vocabulary);
      Dataset<Text> read =
          Texts.read(
              data,
              loaded.hasTokenizer() ? files.tokenizer() : null,
              files.chatTemplate().orElse(null),
              options);
      read.notes().forEach(Log.of(InputOptions.class)::warn);
      return read.records().stream().map(Text::ids).toList();
    }
    List<int[]> all = new ArrayList<>();
    for (String text : texts) {
      int[] encoded;
      if (chat) {
        encoded =
            files.tokenizer().encode(template(files).render(messages(system, text), true), false);
      } else {
        encoded = files.tokenizer().encode(text, true);
      }
      if (encoded.length == 0) {
        throw new InputException("--prompt: expected at least one token, found an empty text");
      }
      all.add(encoded);
    }
    return all;
  }

  static List<Message> messages(String system, String text) {
    List<Message> messages = new ArrayList<>();
    if (system != null) {
      messages.add(new Message("system", system));
    }
    messages.add(new Message("user", text));
    return messages;
  }

  static ChatTemplate template(ModelFiles files) {
    return files
        .chatTemplate()
        .orElseThrow(
            () -> InputException.at(files.path(), "has no chat template: leave out --chat"));
  }

  /** A message, rather than zeros, where values are asked for and no head was trained. */
  void requireValueHead(boolean wanted) {
    if (!wanted) {
      return;
    }
    Path folder = Models.local(adapter);
    if (folder == null || !Files.isDirectory(folder) || !PeftAdapter.hasValueHead(folder)) {
      throw new InputException(
          "--values: expected --adapter with a folder that has value_head.safetensors, found "
              + (adapter == null ? "no --adapter" : adapter + " without one"));
    }
  }
}
