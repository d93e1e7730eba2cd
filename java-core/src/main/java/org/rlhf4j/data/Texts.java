package org.rlhf4j.data;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.rlhf4j.tokenizer.ChatTemplate;
import org.rlhf4j.tokenizer.Message;
import org.rlhf4j.tokenizer.Tokenizer;

/**
 * Sequences for {@code generate}, {@code logprobs}, {@code score} and {@code tokenize}: {@code
 * text} (or {@code prompt}, {@code query}), {@code messages} (or {@code conversations}), or {@code
 * input_ids}; other keys are ignored. With {@code useChatTemplate} a plain text is a user's
 * message; {@code addGenerationPrompt} opens the assistant's turn behind messages. EOS is added
 * with {@code appendEos} YES only. Too long: the last {@code maxLength} tokens are kept.
 */
public final class Texts {
  private Texts() {}

  /**
   * Reads a file, a folder or a glob; arguments and faults as in {@link
   * Demonstrations#read(DataFiles, Tokenizer, ChatTemplate, ReadOptions)}.
   */
  public static Dataset<Text> read(
      Path file, Tokenizer tokenizer, ChatTemplate template, ReadOptions options) {
    RecordReader reader =
        new RecordReader(DataFiles.of(file), tokenizer, template, options, "cut to their last");
    return reader.read(new ArrayList<>(), row -> parse(reader, row));
  }

  private static Text parse(RecordReader reader, Row row) {
    String key = row.firstOf("input_ids", "text", "prompt", "query", "messages", "conversations");
    if (key == null) {
      throw row.unknownForm(
          "'text', 'messages' or 'input_ids'",
          "text",
          "prompt",
          "query",
          "messages",
          "conversations",
          "input_ids");
    }
    if (key.equals("input_ids")) {
      return finish(reader, row, row.ids(key, reader.vocabSize(), false), null);
    }
    boolean list = key.equals("messages") || key.equals("conversations") || row.isList(key);
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
    return switch (reader.length(ids)) {
      case FITS -> new Text(ids, text, row.number());
      case TO_CUT -> new Text(reader.keepEnd(ids), text, row.number());
      case LEFT_OUT -> null;
    };
  }
}
