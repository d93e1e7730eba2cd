package org.rlhf4j.data;

import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import org.rlhf4j.tokenizer.ChatTemplate;
import org.rlhf4j.tokenizer.Message;
import org.rlhf4j.tokenizer.Tokenizer;

/**
 * Data for reward models and DPO. A record has one of these forms; other keys are ignored:
 *
 * <ul>
 *   <li>{@code question} (or {@code prompt}), {@code chosen} and {@code rejected}: texts; a
 *       sequence is the question directly followed by the answer, tokenised together. With {@code
 *       useChatTemplate} they become a user's and an assistant's message.
 *   <li>texts {@code chosen} and {@code rejected} alone: what both begin with is the question.
 *       Where they are conversations of Human and Assistant (HH-RLHF) they become messages if the
 *       model has a chat template; otherwise the question ends with the last {@code Assistant:}
 *       that both share.
 *   <li>message lists {@code chosen} and {@code rejected}: answers, with the question in {@code
 *       prompt} (a text or a list); or whole conversations, whose common start is the question
 *       (UltraFeedback: then {@code prompt} only says it again)
 *   <li>{@code chosen_ids} and {@code rejected_ids}: whole sequences; or, with {@code prompt_ids},
 *       the answers alone
 * </ul>
 *
 * <p>By how much the scores should differ: {@code margin}, or with {@code marginFromScores} {@code
 * score_chosen} − {@code score_rejected}.
 *
 * <p>EOS is not added by default, so that a sequence is what the question and the answer say; with
 * {@code appendEos} YES it is added to plain texts.
 *
 * <p>Too long: the first {@code maxLength} tokens of each sequence are kept. Pairs with two equal
 * sides, from the start or after truncation, teach nothing: they are kept and noted.
 */
public final class Preferences {
  private final RecordReader reader;

  /** Whether the first pair of texts named its question: a later one without it has lost it. */
  private Boolean questionsNamed;

  private Preferences(RecordReader reader) {
    this.reader = reader;
  }

  /**
   * Reads files; arguments and faults as in {@link Demonstrations#read(DataFiles, Tokenizer,
   * ChatTemplate, ReadOptions)}.
   */
  public static Dataset<Preference> read(
      DataFiles files, Tokenizer tokenizer, ChatTemplate template, ReadOptions options) {
    RecordReader reader =
        new RecordReader(files, tokenizer, template, options, "cut to their first");
    return reader.read(new TokenisedList<>(Preference.FORM), new Preferences(reader)::parse);
  }

  /** A file, a folder or a glob. */
  public static Dataset<Preference> read(
      Path file, Tokenizer tokenizer, ChatTemplate template, ReadOptions options) {
    return read(DataFiles.of(file), tokenizer, template, options);
  }

  /**
   * {@link #read(Path, Tokenizer, ChatTemplate, ReadOptions)} with the defaults and no template.
   */
  public static Dataset<Preference> read(Path file, Tokenizer tokenizer) {
    return read(file, tokenizer, null, ReadOptions.defaults());
  }

  private Preference parse(Row row) {
    String form = row.firstOf("chosen_ids", "rejected_ids", "chosen", "rejected");
    if (form == null) {
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
    if (form.endsWith("_ids")) {
      int[] chosen = row.ids("chosen_ids", reader.vocabSize(), false);
      int[] rejected = row.ids("rejected_ids", reader.vocabSize(), false);
      int[] prompt =
          row.has("prompt_ids") ? row.ids("prompt_ids", reader.vocabSize(), false) : new int[0];
      return finish(
          row,
          RecordReader.concat(prompt, chosen),
          RecordReader.concat(prompt, rejected),
          prompt.length);
    }
    String question = row.firstOf("question", "prompt");
    if (row.isList("chosen") || row.isList("rejected")) {
      return conversations(row, question);
    }
    return texts(row, question);
  }

  private Preference texts(Row row, String question) {
    String chosen = row.text("chosen");
    String rejected = row.text("rejected");
    if (questionsNamed == null) {
      questionsNamed = question != null;
    }
    if (question == null) {
      String misspelt = row.misspelt("question", "prompt", "chosen", "rejected", "margin");
      if (questionsNamed || !misspelt.isEmpty()) {
        throw row.error(
            "'question' is missing: expected a string"
                + (questionsNamed ? ", as in the pairs before" : "")
                + misspelt);
      }
      return withoutQuestion(row, chosen, rejected);
    }
    String prompt = row.text(question);
    if (reader.options.useChatTemplate()) {
      return rendered(
          row,
          List.of(new Message("user", prompt)),
          List.of(new Message("user", prompt), new Message("assistant", chosen)),
          List.of(new Message("user", prompt), new Message("assistant", rejected)));
    }
    return encoded(row, prompt, prompt + chosen, prompt + rejected);
  }

  private Preference withoutQuestion(Row row, String chosen, String rejected) {
    boolean turns = HumanAssistant.is(chosen) && HumanAssistant.is(rejected);
    if (turns && reader.hasTemplate()) {
      return whole(row, HumanAssistant.messages(chosen), HumanAssistant.messages(rejected));
    }
    // Where the texts are no conversation, what both begin with is found in the tokens.
    String prompt =
        turns ? chosen.substring(0, HumanAssistant.sharedPrompt(chosen, rejected)) : null;
    return encoded(row, prompt, chosen, rejected);
  }

  /**
   * @param prompt null: what both begin with
   */
  private Preference encoded(Row row, String prompt, String chosen, String rejected) {
    int[] chosenIds = reader.encode(row, reader.withEos(chosen, false));
    int[] rejectedIds = reader.encode(row, reader.withEos(rejected, false));
    int[] promptIds =
        prompt == null ? chosenIds : prompt.isEmpty() ? new int[0] : reader.encode(row, prompt);
    return finish(row, chosenIds, rejectedIds, shared(promptIds, chosenIds, rejectedIds));
  }

  private Preference conversations(Row row, String question) {
    List<Message> chosen = row.messages("chosen");
    List<Message> rejected = row.messages("rejected");
    if (question == null) {
      return whole(row, chosen, rejected);
    }
    boolean list = row.isList(question);
    List<Message> prompt =
        list ? row.messages(question) : List.of(new Message("user", row.text(question)));
    if (list
        ? begins(chosen, prompt) && begins(rejected, prompt)
        : asks(chosen) && asks(rejected)) {
      return whole(row, chosen, rejected);
    }
    return rendered(
        row, prompt, RecordReader.concat(prompt, chosen), RecordReader.concat(prompt, rejected));
  }

  private static boolean begins(List<Message> conversation, List<Message> start) {
    return conversation.size() > start.size()
        && conversation.subList(0, start.size()).equals(start);
  }

  /** Whether a conversation begins with its question rather than with the answer. */
  private static boolean asks(List<Message> conversation) {
    String role = conversation.get(0).role();
    return role.equals("user") || role.equals("system");
  }

  /** Two whole conversations: what both begin with is the question. */
  private Preference whole(Row row, List<Message> chosen, List<Message> rejected) {
    int same = 0;
    while (same < Math.min(chosen.size(), rejected.size())
        && chosen.get(same).equals(rejected.get(same))) {
      same++;
    }
    // Two equal conversations still have an answer each.
    int prompt = Math.min(same, Math.min(chosen.size(), rejected.size()) - 1);
    return rendered(row, chosen.subList(0, prompt), chosen, rejected);
  }

  private Preference rendered(
      Row row, List<Message> prompt, List<Message> chosen, List<Message> rejected) {
    int[] chosenIds = reader.encodeRendered(row, reader.render(row, chosen, false));
    int[] rejectedIds = reader.encodeRendered(row, reader.render(row, rejected, false));
    int[] promptIds =
        prompt.isEmpty()
            ? new int[0]
            : reader.encodeRendered(row, reader.render(row, prompt, true));
    return finish(row, chosenIds, rejectedIds, shared(promptIds, chosenIds, rejectedIds));
  }

  private static int shared(int[] prompt, int[] chosen, int[] rejected) {
    return Math.min(
        RecordReader.commonPrefix(prompt, chosen), RecordReader.commonPrefix(prompt, rejected));
  }

  private Preference finish(Row row, int[] chosen, int[] rejected, int promptLength) {
    boolean equal = Arrays.equals(chosen, rejected);
    switch (reader.length(chosen, rejected)) {
      case LEFT_OUT -> {
        return null;
      }
      case TO_CUT -> {
        chosen = reader.keepStart(chosen);
        rejected = reader.keepStart(rejected);
        if (!equal && Arrays.equals(chosen, rejected)) {
          reader.remark("chosen and rejected are equal after truncation, which teaches nothing");
        }
      }
      case FITS -> {}
    }
    if (equal) {
      reader.remark("chosen and rejected are equal, which teaches nothing");
    }
    return new Preference(
        chosen,
        rejected,
        Math.min(promptLength, Math.min(chosen.length, rejected.length)),
        margin(row),
        row.number());
  }

  private float margin(Row row) {
    if (reader.options.marginFromScores()) {
      return (float) (row.number("score_chosen") - row.number("score_rejected"));
    }
    return row.has("margin") ? (float) row.number("margin") : 0;
  }
}
