package org.rlhf4j.tokenizer;

import ai.djl.huggingface.tokenizers.jni.TokenizersLibrary;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Objects;
import java.util.OptionalInt;
import org.rlhf4j.InputException;
import org.rlhf4j.json.Json;

/**
 * Text to token ids and back, by Hugging Face's tokenizers library, from a tokenizer.json. It never
 * truncates, pads, or uses the network. Any number of threads may use one tokenizer; close it when
 * they are done.
 *
 * <p>{@link #decode} gives the library's text as it is: transformers' old habit of removing spaces
 * before punctuation ({@code clean_up_tokenization_spaces}) is not followed, since it makes text
 * that encodes to other ids.
 */
public final class Tokenizer implements AutoCloseable {
  private final String tokenizerJson;
  private final SpecialTokens special;
  private final TokenizersLibrary library;
  private long handle;
  private volatile Vocabulary added;
  private volatile Vocabulary vocabulary;

  private Tokenizer(
      String tokenizerJson, SpecialTokens special, TokenizersLibrary library, long handle) {
    this.tokenizerJson = tokenizerJson;
    this.special = special;
    this.library = library;
    this.handle = handle;
  }

  /**
   * Opens a Hugging Face folder's tokenizer.json, with the roles that tokenizer_config.json (else
   * special_tokens_map.json) names. Throws InputException when the file is missing or is not a
   * tokenizer.
   */
  public static Tokenizer open(Path folder) {
    Path file = folder.resolve("tokenizer.json");
    if (!Files.isRegularFile(file)) {
      boolean slow =
          Files.isRegularFile(folder.resolve("tokenizer.model"))
              || Files.isRegularFile(folder.resolve("vocab.json"));
      throw InputException.at(
          folder,
          "expected tokenizer.json, found none"
              + (slow
                  ? " (only a slow tokenizer's files: save it again with transformers'"
                      + " AutoTokenizer)"
                  : ""));
    }
    return of(Json.readText(file), SpecialTokens.read(folder), file);
  }

  /**
   * A tokenizer from the text of a tokenizer.json.
   *
   * @param origin the file that messages name
   */
  public static Tokenizer of(String tokenizerJson, SpecialTokens special, Path origin) {
    TokenizersLibrary library = NativeTokenizers.library();
    long handle;
    try {
      handle = library.createTokenizerFromString(tokenizerJson);
    } catch (RuntimeException e) {
      throw new InputException(
          origin + ": not a tokenizer that the tokenizers library reads: " + e.getMessage(), e);
    }
    // A tokenizer.json may carry truncation and padding from whoever saved it last.
    library.disableTruncation(handle);
    library.disablePadding(handle);
    return new Tokenizer(tokenizerJson, special, library, handle);
  }

  /**
   * The ids of {@code text}. Special tokens that stand in the text are recognised, as in
   * transformers.
   *
   * @param addSpecialTokens also add what the tokenizer's own template adds (for many models: BOS
   *     in front)
   */
  public int[] encode(String text, boolean addSpecialTokens) {
    long encoding = library.encode(open(), Objects.requireNonNull(text, "text"), addSpecialTokens);
    try {
      long[] ids = library.getTokenIds(encoding);
      int[] result = new int[ids.length];
      for (int i = 0; i < ids.length; i++) {
        result[i] = (int) ids[i];
      }
      return result;
    } finally {
      library.deleteEncoding(encoding);
    }
  }

  /**
   * The text of {@code ids}; bytes that are no UTF-8 become U+FFFD. Ids that the vocabulary lacks
   * (a model's matrix may have more rows) give no text; a negative id is an
   * IllegalArgumentException.
   */
  public String decode(int[] ids, boolean skipSpecialTokens) {
    long[] wide = new long[ids.length];
    for (int i = 0; i < ids.length; i++) {
      if (ids[i] < 0) {
        throw new IllegalArgumentException(
            "token id " + ids[i] + " at position " + i + ": expected >= 0");
      }
      wide[i] = ids[i];
    }
    return library.decode(open(), wide, skipSpecialTokens);
  }

  /** The id of a token, by its exact text in the vocabulary ({@code <|im_end|>}, {@code Ġthe}). */
  public OptionalInt id(String token) {
    if (token == null) {
      return OptionalInt.empty();
    }
    if (added == null) {
      added = parse(true);
    }
    Integer id = added.id(token);
    if (id == null) {
      id = vocabulary().id(token);
    }
    return id == null ? OptionalInt.empty() : OptionalInt.of(id);
  }

  public OptionalInt bosId() {
    return id(special.bos());
  }

  public OptionalInt eosId() {
    return id(special.eos());
  }

  public OptionalInt padId() {
    return id(special.pad());
  }

  /**
   * The texts of BOS, EOS and so on; a chat template sees them as {@code bos_token}, {@code
   * eos_token}.
   */
  public SpecialTokens specialTokens() {
    return special;
  }

  /** The largest token id, plus one. A model's embedding may have more rows. */
  public int vocabSize() {
    return vocabulary().size();
  }

  /** The text of the tokenizer.json that this is, read or synthesised. */
  public String tokenizerJson() {
    return tokenizerJson;
  }

  private Vocabulary vocabulary() {
    if (vocabulary == null) {
      vocabulary = parse(false);
    }
    return vocabulary;
  }

  /** Two threads may both come here; they get equal results. */
  private Vocabulary parse(boolean addedOnly) {
    try {
      return Vocabulary.parse(tokenizerJson, addedOnly);
    } catch (IOException e) {
      throw new InputException("tokenizer.json: not valid JSON: " + e.getMessage(), e);
    }
  }

  private synchronized long open() {
    if (handle == 0) {
      throw new IllegalStateException("the tokenizer is closed");
    }
    return handle;
  }

  @Override
  public synchronized void close() {
    if (handle != 0) {
      library.deleteTokenizer(handle);
      handle = 0;
    }
  }
}
