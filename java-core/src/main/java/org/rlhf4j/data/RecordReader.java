package org.rlhf4j.data;

import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
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

  private final DataFiles files;
  private final Tokenizer tokenizer;
  private final ChatTemplate template;
  final ReadOptions options;

  /** What truncation leaves, as the log says it. */
  private final String cut;

  private final Map<String, Integer> remarks = new LinkedHashMap<>();
  private final List<String> faults = new ArrayList<>();
  private long rows;
  private int skipped;
  private int truncated;
  private int filtered;

  /**
   * @param cut what is left of a record that is truncated: "cut to their first"
   */
  RecordReader(
      DataFiles files,
      Tokenizer tokenizer,
      ChatTemplate template,
      ReadOptions options,
      String cut) {
    this.files = files;
    this.tokenizer = tokenizer;
    this.template = template;
    this.options = options;
    this.cut = cut;
  }

  /**
   * Reads everything; a parser that returns null drops the record (and has said why by {@link
   * #remark} or {@link #length}).
   *
   * @param records an empty list to add to
   */
  <T> Dataset<T> read(List<T> records, Function<Row, T> parser) {
    for (Path file : files.files()) {
      read(file, records, parser);
    }
    if (records.isEmpty()) {
      throw new InputException(
          files.name()
              + ": expected at least one record, found none"
              + (faults.isEmpty() ? "" : " that is good; " + faults.get(0))
              + (rows > 0 ? " that is left: " + account(0) : ""));
    }
    return new Dataset<>(
        files.name(),
        Collections.unmodifiableList(records),
        skipped,
        truncated,
        filtered,
        notes(records.size()));
  }

  private <T> void read(Path file, List<T> records, Function<Row, T> parser) {
    try (RowSource source = RowSource.open(file)) {
      while (true) {
        try {
          Row row = source.next();
          if (row == null) {
            break;
          }
          rows++;
          T parsed =
              parser.apply(options.columns().isEmpty() ? row : row.withColumns(options.columns()));
          if (parsed != null) {
            records.add(parsed);
          }
        } catch (InputException e) {
          if (!options.skipBadLines() || source.broken()) {
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
  }

  /** "200 rows read, 197 kept, …", with the rule by which the others went. */
  private String account(int kept) {
    String longer = " longer than " + options.maxLength() + " tokens ";
    StringBuilder text = new StringBuilder().append(rows).append(" rows read, ").append(kept);
    text.append(" kept");
    if (filtered > 0) {
      text.append(", ").append(filtered).append(longer).append("left out");
    }
    if (truncated > 0) {
      text.append(", ").append(truncated).append(longer).append(cut).append(' ');
      text.append(options.maxLength());
    }
    return text.toString();
  }

  private List<String> notes(int kept) {
    List<String> notes = new ArrayList<>();
    notes.add(files.name() + ": " + account(kept));
    if (skipped > 0) {
      notes.add(
          files.name()
              + ": "
              + skipped
              + " bad lines skipped: "
              + String.join("; ", faults)
              + (skipped > EXAMPLES ? "; …" : ""));
    }
    remarks.forEach((text, count) -> notes.add(files.name() + ": " + count + " records: " + text));
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
      return template.render(messages, addGenerationPrompt, row.templateVariables());
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
    return isLong(ids) ? Arrays.copyOf(ids, options.maxLength()) : ids;
  }

  /** Keeps the last {@code maxLength} tokens. */
  int[] keepEnd(int[] ids) {
    return isLong(ids)
        ? Arrays.copyOfRange(ids, ids.length - options.maxLength(), ids.length)
        : ids;
  }

  private boolean isLong(int[] ids) {
    return options.maxLength() > 0 && ids.length > options.maxLength();
  }

  /** What is to be done with a record of these sequences. */
  enum Length {
    FITS,
    TO_CUT,
    LEFT_OUT
  }

  /** Judges a record by its sequences, and counts those that are too long. */
  Length length(int[]... sequences) {
    if (Arrays.stream(sequences).noneMatch(this::isLong)) {
      return Length.FITS;
    }
    if (options.overlong() == ReadOptions.Overlong.FILTER) {
      filtered++;
      return Length.LEFT_OUT;
    }
    truncated++;
    return Length.TO_CUT;
  }

  boolean hasTemplate() {
    return template != null;
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
