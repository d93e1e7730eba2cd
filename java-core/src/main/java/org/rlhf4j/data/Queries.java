package org.rlhf4j.data;

import java.nio.file.Path;
import java.util.List;
import org.rlhf4j.tokenizer.ChatTemplate;
import org.rlhf4j.tokenizer.Message;
import org.rlhf4j.tokenizer.Tokenizer;

/**
 * Prompts for PPO and its kin: {@code query} (or {@code prompt}), as a text, or with {@code
 * useChatTemplate} as a user's message with the assistant's turn opened; {@code messages} (or
 * {@code conversations}, or {@code prompt} as a message list), rendered with the assistant's turn
 * opened; or {@code query_ids} (or {@code input_ids}). Other keys are ignored. EOS is never added:
 * the model is to go on.
 *
 * <p>Too long: the last {@code maxLength} tokens are kept, so that the model still answers what was
 * asked last.
 */
public final class Queries {
  private Queries() {}

  /**
   * Reads files; arguments and faults as in {@link Demonstrations#read(DataFiles, Tokenizer,
   * ChatTemplate, ReadOptions)}.
   */
  public static Dataset<Query> read(
      DataFiles files, Tokenizer tokenizer, ChatTemplate template, ReadOptions options) {
    RecordReader reader =
        new RecordReader(files, tokenizer, template, options, "cut to their last");
    return reader.read(new TokenisedList<>(Query.FORM), row -> parse(reader, row));
  }

  /** A file, a folder or a glob. */
  public static Dataset<Query> read(
      Path file, Tokenizer tokenizer, ChatTemplate template, ReadOptions options) {
    return read(DataFiles.of(file), tokenizer, template, options);
  }

  /**
   * {@link #read(Path, Tokenizer, ChatTemplate, ReadOptions)} with the defaults and no template.
   */
  public static Dataset<Query> read(Path file, Tokenizer tokenizer) {
    return read(file, tokenizer, null, ReadOptions.defaults());
  }

  private static Query parse(RecordReader reader, Row row) {
    String key =
        row.firstOf("query_ids", "input_ids", "query", "prompt", "messages", "conversations");
    if (key == null) {
      throw row.unknownForm(
          "'query', 'messages' or 'query_ids'",
          "query",
          "prompt",
          "messages",
          "conversations",
          "query_ids");
    }
    if (key.endsWith("_ids")) {
      return finish(reader, row, row.ids(key, reader.vocabSize(), false));
    }
    if (key.equals("messages") || key.equals("conversations") || row.isList(key)) {
      return rendered(reader, row, row.messages(key));
    }
    String text = row.text(key);
    if (reader.options.useChatTemplate()) {
      return rendered(reader, row, List.of(new Message("user", text)));
    }
    return finish(reader, row, reader.encode(row, text));
  }

  private static Query rendered(RecordReader reader, Row row, List<Message> messages) {
    return finish(reader, row, reader.encodeRendered(row, reader.render(row, messages, true)));
  }

  private static Query finish(RecordReader reader, Row row, int[] ids) {
    return switch (reader.length(ids)) {
      case FITS -> new Query(ids, row.number());
      case TO_CUT -> new Query(reader.keepEnd(ids), row.number());
      case LEFT_OUT -> null;
    };
  }
}
