package org.rlhf4j.data;

import java.nio.file.Path;
import java.util.List;
import org.rlhf4j.tokenizer.ChatTemplate;
import org.rlhf4j.tokenizer.Message;
import org.rlhf4j.tokenizer.Tokenizer;

/**
 * Sequences for {@code generate}, {@code logprobs}, {@code score} and {@code tokenize}: {@code
 * text} (or {@code prompt}, {@code query}), {@code messages}, or {@code input_ids}; other keys are
 * ignored. With {@code useChatTemplate} a plain text is a user's message; {@code
 * addGenerationPrompt} opens the assistant's turn behind messages. EOS is added with {@code
 * appendEos} YES only. Too long: the last {@code maxLength} tokens are kept.
 */
public final class Texts {
  private Texts() {}

  /**
   * Reads a file; arguments and faults as in {@link Demonstrations#read(Path, Tokenizer,
   * ChatTemplate, ReadOptions)}.
   */
  public static Dataset<Text> read(
      Path file, Tokenizer tokenizer, ChatTemplate template, ReadOptions options) {
    RecordReader reader = new RecordReader(file, tokenizer, template, options);
    return reader.read(row -> parse(reader, row));
  }

  private static Text parse(RecordReader reader, Row row) {
    if (row.has("input_ids")) {
      return finish(reader, row, row.ids("input_ids", reader.vocabSize(), false), null);
    }
    String key = row.firstOf("text", "prompt", "query", "messages");
    if (key == null) {
      throw row.unknownForm(
          "'text', 'messages' or 'input_ids'", "text", "prompt", "query", "messages", "input_ids");
    }
    boolean list = key.equals("messages") || row.isList(key);
    if (list || reader.options.useChatTemplate()) {
      List<Message> messages =
          list ? row.messages(key) : List.of(new Message("user", row.text(key)));
      String text = reader.render(row, messages, reader.options.addGenerationPrompt());
      return finish(reader, row, reader.encodeRendered(row, text), text);
    }
    String text = reader.withEos(row.text(key), false);
    return finish(reader, row, reader.encode(row, text), text);
  }

  private static Text finish(RecordReader reader, Row row, int[] ids, String text) {
    if (reader.tooLong(ids)) {
      reader.countTruncated();
      ids = reader.keepEnd(ids);
    }
    return new Text(ids, text, row.number());
  }
}
