package org.rlhf4j.data;

import java.nio.file.Path;
import java.util.List;
import org.rlhf4j.tokenizer.ChatTemplate;
import org.rlhf4j.tokenizer.Message;
import org.rlhf4j.tokenizer.Tokenizer;

/**
 * Prompts for PPO and its kin: {@code query} (or {@code prompt}), as a text, or with {@code
 * useChatTemplate} as a user's message with the assistant's turn opened; {@code messages} (or
 * {@code prompt} as a message list), rendered with the assistant's turn opened; or {@code
 * query_ids} (or {@code input_ids}). Other keys are ignored. EOS is never added: the model is to go
 * on.
 *
 * <p>Too long: the last {@code maxLength} tokens are kept, so that the model still answers what was
 * asked last.
 */
public final class Queries {
  private Queries() {}

  /**
   * Reads a file; arguments and faults as in {@link Demonstrations#read(Path, Tokenizer,
   * ChatTemplate, ReadOptions)}.
   */
  public static Dataset<Query> read(
      Path file, Tokenizer tokenizer, ChatTemplate template, ReadOptions options) {
    RecordReader reader = new RecordReader(file, tokenizer, template, options);
    return reader.read(row -> parse(reader, row));
  }

  /**
   * {@link #read(Path, Tokenizer, ChatTemplate, ReadOptions)} with the defaults and no chat
   * template.
   */
  public static Dataset<Query> read(Path file, Tokenizer tokenizer) {
    return read(file, tokenizer, null, ReadOptions.defaults());
  }

  private static Query parse(RecordReader reader, Row row) {
    String tokens = row.firstOf("query_ids", "input_ids");
    if (tokens != null) {
      return finish(reader, row, row.ids(tokens, reader.vocabSize(), false), null);
    }
    String key = row.firstOf("query", "prompt", "messages");
    if (key == null) {
      throw row.unknownForm(
          "'query', 'messages' or 'query_ids'", "query", "prompt", "messages", "query_ids");
    }
    if (key.equals("messages") || row.isList(key)) {
      return rendered(reader, row, row.messages(key));
    }
    String text = row.text(key);
    if (reader.options.useChatTemplate()) {
      return rendered(reader, row, List.of(new Message("user", text)));
    }
    return finish(reader, row, reader.encode(row, text), text);
  }

  private static Query rendered(RecordReader reader, Row row, List<Message> messages) {
    String text = reader.render(row, messages, true);
    return finish(reader, row, reader.encodeRendered(row, text), text);
  }

  private static Query finish(RecordReader reader, Row row, int[] ids, String text) {
    if (reader.tooLong(ids)) {
      reader.countTruncated();
      ids = reader.keepEnd(ids);
    }
    return new Query(ids, text, row.number());
  }
}
