package org.rlhf4j.data;

import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Function;
import org.rlhf4j.InputException;
import org.rlhf4j.data.ReadOptions.AppendEos;
import org.rlhf4j.tokenizer.ChatTemplate;
import org.rlhf4j.tokenizer.Message;
import org.rlhf4j.tokenizer.Tokenizer;

/**
 * What all readers share: the loop over rows, tokenisation, truncation, and the account of what
 * happened.
 */
final class RecordReader {
  private static final int EXAMPLES = 3;

  private final Path file;
  private final Tokenizer tokenizer;
  private final ChatTemplate template;
  final ReadOptions options;
  private final Map<String, Integer> remarks = new LinkedHashMap<>();
  private final List<String> faults = new ArrayList<>();
  private int skipped;
  private int truncated;

  RecordReader(Path file, Tokenizer tokenizer, ChatTemplate template, ReadOptions options) {
    this.file = file;
    this.tokenizer = tokenizer;
    this.template = template;
    this.options = options;
  }

  /** Reads everything; a parser that returns null drops the record (and has remarked why). */
  <T> Dataset<T> read(Function<Row, T> parser) {
    List<T> records = new ArrayList<>();
    try (RowSource rows = RowSource.open(file)) {
      while (true) {
        try {
          Row row = rows.next();
          if (row == null) {
            break;
          }
          T parsed = parser.apply(row);
          if (parsed != null) {
            records.add(parsed);
          }
        } catch (InputException e) {
          if (!options.skipBadLines() || rows.broken()) {
            throw e;
          }
          skipped++;
          if (faults.size() < EXAMPLES) {
            faults.add(e.getMessage());
          }
        }
      }
    } catch (IOException e) {
      throw new InputException(file + ": cannot be read: " + e.getMessage(), e);
    }
    if (records.isEmpty()) {
      throw InputException.at(
          file,
          "expected at least one record, found none"
              + (faults.isEmpty() ? "" : " that is good; " + faults.get(0)));
    }
    return new Dataset<>(file, List.copyOf(records), skipped, truncated, notes());
  }

  private List<String> notes() {
    List<String> notes = new ArrayList<>();
    if (skipped > 0) {
      notes.add(
          file
              + ": "
              + skipped
              + " bad lines skipped: "
              + String.join("; ", faults)
              + (skipped > EXAMPLES ? "; …" : ""));
    }
    if (truncated > 0) {
      notes.add(
          file
              + ": "
              + truncated
              + " records were longer than "
              + options.maxLength()
              + " tokens and were truncated");
    }
    remarks.forEach((text, count) -> notes.add(file + ": " + count + " records: " + text));
    return List.copyOf(notes);
  }

  /** Counts one record of which this can be said. */
  void remark(String text) {
    remarks.merge(text, 1, Integer::sum);
  }

  int vocabSize() {
    return options.vocabSize() > 0
        ? options.vocabSize()
        : tokenizer == null ? Integer.MAX_VALUE : tokenizer.vocabSize();
  }

  /** Tokenises plain text. */
  int[] encode(Row row, String text) {
    return encode(row, text, options.addSpecialTokens());
  }

  private int[] encode(Row row, String text, boolean addSpecialTokens) {
    if (tokenizer == null) {
      throw row.error("expected token ids, since there is no tokenizer, found text");
    }
    int[] ids = tokenizer.encode(text, addSpecialTokens);
    if (ids.length == 0) {
      throw row.error("expected some text, found nothing that gives a token");
    }
    return ids;
  }

  /** Tokenises a rendered conversation, which has its special tokens already. */
  int[] encodeRendered(Row row, String rendered) {
    return encode(row, rendered, false);
  }

  String render(Row row, List<Message> messages, boolean addGenerationPrompt) {
    if (template == null) {
      throw row.error(
          "expected plain text or token ids, since the model has no chat template, found messages");
    }
    try {
      return template.render(messages, addGenerationPrompt);
    } catch (InputException e) {
      throw row.error(e.getMessage());
    }
  }

  /** The text with EOS behind it, unless it ends so already or the options say otherwise. */
  String withEos(String text, boolean byDefault) {
    boolean append =
        options.appendEos() == AppendEos.YES || options.appendEos() == AppendEos.AUTO && byDefault;
    String eos = tokenizer == null ? null : tokenizer.specialTokens().eos();
    return append && eos != null && !text.endsWith(eos) ? text + eos : text;
  }

  /** Keeps the first {@code maxLength} tokens. */
  int[] keepStart(int[] ids) {
    return tooLong(ids) ? Arrays.copyOf(ids, options.maxLength()) : ids;
  }

  /** Keeps the last {@code maxLength} tokens. */
  int[] keepEnd(int[] ids) {
    return tooLong(ids)
        ? Arrays.copyOfRange(ids, ids.length - options.maxLength(), ids.length)
        : ids;
  }

  boolean tooLong(int[] ids) {
    return options.maxLength() > 0 && ids.length > options.maxLength();
  }

  void countTruncated() {
    truncated++;
  }

  /**
   * Tokens that both begin with: where tokens merge across the boundary, fewer than the prompt has.
   */
  static int commonPrefix(int[] a, int[] b) {
    int mismatch = Arrays.mismatch(a, b);
    return mismatch < 0 ? a.length : mismatch;
  }

  static int[] concat(int[] a, int[] b) {
    int[] both = Arrays.copyOf(a, a.length + b.length);
    System.arraycopy(b, 0, both, a.length, b.length);
    return both;
  }

  static List<Message> concat(List<Message> a, List<Message> b) {
    List<Message> both = new ArrayList<>(a);
    both.addAll(b);
    return both;
  }
}
