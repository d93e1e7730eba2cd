package org.rlhf4j.data;

import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import org.rlhf4j.tokenizer.ChatTemplate;
import org.rlhf4j.tokenizer.Message;
import org.rlhf4j.tokenizer.Tokenizer;

/**
 * Data for reward models and DPO. A record has one of these forms, and may have a {@code margin};
 * other keys are ignored:
 *
 * <ul>
 *   <li>{@code question} (or {@code prompt}), {@code chosen} and {@code rejected}: texts; a
 *       sequence is the question directly followed by the answer, tokenised together. With {@code
 *       useChatTemplate} they become a user's and an assistant's message.
 *   <li>message lists: {@code chosen} and {@code rejected}, with the question in {@code prompt} or
 *       at the start of both
 *   <li>{@code chosen_ids} and {@code rejected_ids}: whole sequences; or, with {@code prompt_ids},
 *       the answers alone
 * </ul>
 *
 * <p>EOS is not added by default, so that a sequence is what the question and the answer say; with
 * {@code appendEos} YES it is added to plain texts.
 *
 * <p>Too long: the first {@code maxLength} tokens of each sequence are kept. Pairs with two equal
 * sides, from the start or after truncation, teach nothing: they are kept and noted.
 */
public final class Preferences {
  private Preferences() {}

  /**
   * Reads a file; arguments and faults as in {@link Demonstrations#read(Path, Tokenizer,
   * ChatTemplate, ReadOptions)}.
   */
  public static Dataset<Preference> read(
      Path file, Tokenizer tokenizer, ChatTemplate template, ReadOptions options) {
    RecordReader reader = new RecordReader(file, tokenizer, template, options);
    return reader.read(row -> parse(reader, row));
  }

  /**
   * {@link #read(Path, Tokenizer, ChatTemplate, ReadOptions)} with the defaults and no chat
   * template.
   */
  public static Dataset<Preference> read(Path file, Tokenizer tokenizer) {
    return read(file, tokenizer, null, ReadOptions.defaults());
  }

  private static Preference parse(RecordReader reader, Row row) {
    if (row.has("chosen_ids") || row.has("rejected_ids")) {
      int[] chosen = row.ids("chosen_ids", reader.vocabSize(), false);
      int[] rejected = row.ids("rejected_ids", reader.vocabSize(), false);
      int[] prompt =
          row.has("prompt_ids") ? row.ids("prompt_ids", reader.vocabSize(), false) : new int[0];
      return finish(
          reader,
          row,
          RecordReader.concat(prompt, chosen),
          RecordReader.concat(prompt, rejected),
          prompt.length);
    }
    if (!row.has("chosen") && !row.has("rejected")) {
      throw row.unknownForm(
          "'question', 'chosen' and 'rejected', or 'chosen_ids' and 'rejected_ids'",
          "question",
          "prompt",
          "chosen",
          "rejected",
          "chosen_ids",
          "rejected_ids",
          "prompt_ids");
    }
    String question = row.firstOf("question", "prompt");
    if (row.isList("chosen") || row.isList("rejected")) {
      return conversations(reader, row, question);
    }
    String chosen = row.text("chosen");
    String rejected = row.text("rejected");
    if (question == null) {
      question = "question"; // its absence is what the message is about
    }
    String prompt = row.text(question);
    if (reader.options.useChatTemplate()) {
      return rendered(
          reader,
          row,
          List.of(new Message("user", prompt)),
          List.of(new Message("user", prompt), new Message("assistant", chosen)),
          List.of(new Message("user", prompt), new Message("assistant", rejected)));
    }
    int[] promptIds = reader.encode(row, prompt);
    int[] chosenIds = reader.encode(row, reader.withEos(prompt + chosen, false));
    int[] rejectedIds = reader.encode(row, reader.withEos(prompt + rejected, false));
    return finish(reader, row, chosenIds, rejectedIds, shared(promptIds, chosenIds, rejectedIds));
  }

  private static Preference conversations(RecordReader reader, Row row, String question) {
    List<Message> chosen = row.messages("chosen");
    List<Message> rejected = row.messages("rejected");
    List<Message> prompt;
    if (question == null) {
      int same = 0;
      while (same < Math.min(chosen.size(), rejected.size())
          && chosen.get(same).equals(rejected.get(same))) {
        same++;
      }
      // Two equal conversations still have an answer each.
      prompt = chosen.subList(0, Math.min(same, Math.min(chosen.size(), rejected.size()) - 1));
    } else {
      prompt =
          row.isList(question)
              ? row.messages(question)
              : List.of(new Message("user", row.text(question)));
      chosen = RecordReader.concat(prompt, chosen);
      rejected = RecordReader.concat(prompt, rejected);
    }
    return rendered(reader, row, prompt, chosen, rejected);
  }

  private static Preference rendered(
      RecordReader reader,
      Row row,
      List<Message> prompt,
      List<Message> chosen,
      List<Message> rejected) {
    int[] chosenIds = reader.encodeRendered(row, reader.render(row, chosen, false));
    int[] rejectedIds = reader.encodeRendered(row, reader.render(row, rejected, false));
    int[] promptIds =
        prompt.isEmpty()
            ? new int[0]
            : reader.encodeRendered(row, reader.render(row, prompt, true));
    return finish(reader, row, chosenIds, rejectedIds, shared(promptIds, chosenIds, rejectedIds));
  }

  private static int shared(int[] prompt, int[] chosen, int[] rejected) {
    return Math.min(
        RecordReader.commonPrefix(prompt, chosen), RecordReader.commonPrefix(prompt, rejected));
  }

  private static Preference finish(
      RecordReader reader, Row row, int[] chosen, int[] rejected, int promptLength) {
    boolean equal = Arrays.equals(chosen, rejected);
    if (equal) {
      reader.remark("chosen and rejected are equal, which teaches nothing");
    }
    if (reader.tooLong(chosen) || reader.tooLong(rejected)) {
      reader.countTruncated();
      chosen = reader.keepStart(chosen);
      rejected = reader.keepStart(rejected);
      if (!equal && Arrays.equals(chosen, rejected)) {
        reader.remark("chosen and rejected are equal after truncation, which teaches nothing");
      }
    }
    float margin = row.has("margin") ? (float) row.number("margin") : 0;
    return new Preference(
        chosen,
        rejected,
        Math.min(promptLength, Math.min(chosen.length, rejected.length)),
        margin,
        row.number());
  }
}
