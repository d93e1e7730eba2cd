package org.rlhf4j.data;

import java.nio.file.Path;
import java.util.List;
import org.rlhf4j.tokenizer.ChatTemplate;
import org.rlhf4j.tokenizer.Message;
import org.rlhf4j.tokenizer.Tokenizer;

/**
 * Data for supervised fine-tuning. A record has one of these forms, the first that it has in this
 * order (a form whose column is mapped goes first); other keys are ignored:
 *
 * <ul>
 *   <li>{@code input_ids} and {@code prompt_length}: taken as they are
 *   <li>{@code messages}, or {@code conversations}: rendered by the chat template; all tokens are
 *       learnt
 *   <li>{@code prompt} and {@code completion}: two texts, tokenised together as TRL does; the
 *       prompt's tokens are not learnt. Where a token reaches across the boundary, it is learnt.
 *       With {@code useChatTemplate} they become a user's and an assistant's message. Two message
 *       lists are rendered by the chat template.
 *   <li>{@code instruction}, perhaps {@code input}, and {@code output} (Alpaca): a user's message,
 *       the input after a blank line, and the assistant's; for a model without a chat template a
 *       prompt that ends with a blank line, and a completion
 *   <li>{@code text}: all tokens are learnt
 * </ul>
 *
 * <p>EOS, as in TRL: plain texts get EOS behind them unless they end with it, since a model that
 * never sees EOS never learns to stop; conversations end as their template ends them; token ids are
 * left alone. {@code appendEos} forces or forbids it for plain texts.
 *
 * <p>Too long: the first {@code maxLength} tokens are kept. A record whose completion is cut off
 * altogether is dropped.
 */
public final class Demonstrations {
  private Demonstrations() {}

  /**
   * Reads files.
   *
   * @param tokenizer may be null when all records are tokenised
   * @param template may be null when no record needs it
   * @throws org.rlhf4j.InputException at the first bad line ({@code FILE:LINE: …}), or when no
   *     record is left
   */
  public static Dataset<Demonstration> read(
      DataFiles files, Tokenizer tokenizer, ChatTemplate template, ReadOptions options) {
    RecordReader reader =
        new RecordReader(files, tokenizer, template, options, "cut to their first");
    return reader.read(new TokenisedList<>(Demonstration.FORM), row -> parse(reader, row));
  }

  /** A file, a folder or a glob. */
  public static Dataset<Demonstration> read(
      Path file, Tokenizer tokenizer, ChatTemplate template, ReadOptions options) {
    return read(DataFiles.of(file), tokenizer, template, options);
  }

  /**
   * {@link #read(Path, Tokenizer, ChatTemplate, ReadOptions)} with the defaults and no template.
   */
  public static Dataset<Demonstration> read(Path file, Tokenizer tokenizer) {
    return read(file, tokenizer, null, ReadOptions.defaults());
  }

  private static Demonstration parse(RecordReader reader, Row row) {
    String form =
        row.firstOf(
            "input_ids",
            "messages",
            "conversations",
            "prompt",
            "completion",
            "output",
            "instruction",
            "text");
    return switch (form) {
      case "input_ids" -> tokenised(reader, row);
      case "messages", "conversations" ->
          finish(
              reader,
              row,
              reader.encodeRendered(row, reader.render(row, row.messages(form), false)),
              0);
      case "prompt", "completion" -> completion(reader, row);
      case "output", "instruction" -> instruction(reader, row);
      case "text" ->
          finish(reader, row, reader.encode(row, reader.withEos(row.text("text"), true)), 0);
      case null, default ->
          throw row.unknownForm(
              "'prompt' and 'completion', 'messages', 'text', 'instruction' and 'output', or"
                  + " 'input_ids' and 'prompt_length'",
              "prompt",
              "completion",
              "messages",
              "conversations",
              "text",
              "instruction",
              "output",
              "input_ids",
              "prompt_length");
    };
  }

  private static Demonstration tokenised(RecordReader reader, Row row) {
    int[] ids = row.ids("input_ids", reader.vocabSize(), false);
    int promptLength = row.has("prompt_length") ? row.integer("prompt_length") : 0;
    if (promptLength < 0 || promptLength >= ids.length) {
      throw row.error(
          "'prompt_length': expected 0 to " + (ids.length - 1) + ", found " + promptLength);
    }
    return finish(reader, row, ids, promptLength);
  }

  private static Demonstration completion(RecordReader reader, Row row) {
    if (row.isList("prompt") || row.isList("completion")) {
      return conversation(reader, row, row.messages("prompt"), row.messages("completion"));
    }
    String prompt = row.text("prompt");
    String completion = row.text("completion");
    return reader.options.useChatTemplate()
        ? turns(reader, row, prompt, completion)
        : texts(reader, row, prompt, completion);
  }

  private static Demonstration instruction(RecordReader reader, Row row) {
    String input = row.textOrEmpty("input");
    String prompt = row.text("instruction") + (input.isEmpty() ? "" : "\n\n" + input);
    String output = row.text("output");
    return reader.hasTemplate()
        ? turns(reader, row, prompt, output)
        : texts(reader, row, prompt + "\n\n", output);
  }

  private static Demonstration turns(
      RecordReader reader, Row row, String prompt, String completion) {
    return conversation(
        reader,
        row,
        List.of(new Message("user", prompt)),
        List.of(new Message("assistant", completion)));
  }

  private static Demonstration texts(
      RecordReader reader, Row row, String prompt, String completion) {
    int[] ids = reader.encode(row, reader.withEos(prompt + completion, true));
    return finish(reader, row, ids, boundary(reader, reader.encode(row, prompt), ids));
  }

  private static Demonstration conversation(
      RecordReader reader, Row row, List<Message> prompt, List<Message> completion) {
    int[] ids =
        reader.encodeRendered(
            row, reader.render(row, RecordReader.concat(prompt, completion), false));
    int[] promptIds = reader.encodeRendered(row, reader.render(row, prompt, true));
    return finish(reader, row, ids, boundary(reader, promptIds, ids));
  }

  private static int boundary(RecordReader reader, int[] promptIds, int[] ids) {
    int promptLength = RecordReader.commonPrefix(promptIds, ids);
    if (promptLength < promptIds.length) {
      reader.remark(
          "the prompt's tokens differ where the completion follows; learning begins at the first"
              + " that differs");
    }
    return promptLength;
  }

  private static Demonstration finish(RecordReader reader, Row row, int[] ids, int promptLength) {
    switch (reader.length(ids)) {
      case LEFT_OUT -> {
        return null;
      }
      case TO_CUT -> ids = reader.keepStart(ids);
      case FITS -> {}
    }
    if (promptLength >= ids.length) {
      reader.remark("dropped, since no token of the completion is left to learn");
      return null;
    }
    return new Demonstration(ids, promptLength, row.number());
  }
}
