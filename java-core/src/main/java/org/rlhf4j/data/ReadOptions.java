package org.rlhf4j.data;

import java.util.Map;

/**
 * How data files are read.
 *
 * @param maxLength tokens of the longest sequence; 0: no limit
 * @param overlong what happens to longer ones
 * @param skipBadLines count bad lines and go on, where otherwise the first one stops the run
 * @param appendEos whether EOS is added to texts; {@link AppendEos#AUTO} is what each reader says
 * @param useChatTemplate wrap plain questions as a user's message (and answers as the assistant's)
 *     by the chat template
 * @param addGenerationPrompt for plain message lists ({@link Texts}): also open the assistant's
 *     turn
 * @param addSpecialTokens let the tokenizer add its own special tokens to plain text, as
 *     transformers does by default; never done to rendered templates, which contain them
 * @param vocabSize token ids in the data must be below it; 0: the tokenizer's size
 * @param columns what a field is called in the files, where that is not its own name: {@code
 *     prompt=instruction}
 * @param marginFromScores a pair's margin is {@code score_chosen} − {@code score_rejected}
 */
public record ReadOptions(
    int maxLength,
    Overlong overlong,
    boolean skipBadLines,
    AppendEos appendEos,
    boolean useChatTemplate,
    boolean addGenerationPrompt,
    boolean addSpecialTokens,
    int vocabSize,
    Map<String, String> columns,
    boolean marginFromScores) {
  /** Whether EOS is added after a text that does not end with it. */
  public enum AppendEos {
    AUTO,
    YES,
    NO
  }

  /** What happens to sequences that are longer than the limit. */
  public enum Overlong {
    /** Cut: examples and pairs at their end, prompts at their start. */
    TRUNCATE,
    /** The record is left out. */
    FILTER
  }

  public static ReadOptions defaults() {
    return new ReadOptions(
        0, Overlong.TRUNCATE, false, AppendEos.AUTO, false, false, true, 0, Map.of(), false);
  }

  public ReadOptions withMaxLength(int value) {
    return new ReadOptions(
        value,
        overlong,
        skipBadLines,
        appendEos,
        useChatTemplate,
        addGenerationPrompt,
        addSpecialTokens,
        vocabSize,
        columns,
        marginFromScores);
  }

  public ReadOptions withOverlong(Overlong value) {
    return new ReadOptions(
        maxLength,
        value,
        skipBadLines,
        appendEos,
        useChatTemplate,
        addGenerationPrompt,
        addSpecialTokens,
        vocabSize,
        columns,
        marginFromScores);
  }

  public ReadOptions withSkipBadLines(boolean value) {
    return new ReadOptions(
        maxLength,
        overlong,
        value,
        appendEos,
        useChatTemplate,
        addGenerationPrompt,
        addSpecialTokens,
        vocabSize,
        columns,
        marginFromScores);
  }

  public ReadOptions withAppendEos(AppendEos value) {
    return new ReadOptions(
        maxLength,
        overlong,
        skipBadLines,
        value,
        useChatTemplate,
        addGenerationPrompt,
        addSpecialTokens,
        vocabSize,
        columns,
        marginFromScores);
  }

  public ReadOptions withUseChatTemplate(boolean value) {
    return new ReadOptions(
        maxLength,
        overlong,
        skipBadLines,
        appendEos,
        value,
        addGenerationPrompt,
        addSpecialTokens,
        vocabSize,
        columns,
        marginFromScores);
  }

  public ReadOptions withAddGenerationPrompt(boolean value) {
    return new ReadOptions(
        maxLength,
        overlong,
        skipBadLines,
        appendEos,
        useChatTemplate,
        value,
        addSpecialTokens,
        vocabSize,
        columns,
        marginFromScores);
  }

  public ReadOptions withAddSpecialTokens(boolean value) {
    return new ReadOptions(
        maxLength,
        overlong,
        skipBadLines,
        appendEos,
        useChatTemplate,
        addGenerationPrompt,
        value,
        vocabSize,
        columns,
        marginFromScores);
  }

  public ReadOptions withVocabSize(int value) {
    return new ReadOptions(
        maxLength,
        overlong,
        skipBadLines,
        appendEos,
        useChatTemplate,
        addGenerationPrompt,
        addSpecialTokens,
        value,
        columns,
        marginFromScores);
  }

  public ReadOptions withColumns(Map<String, String> value) {
    return new ReadOptions(
        maxLength,
        overlong,
        skipBadLines,
        appendEos,
        useChatTemplate,
        addGenerationPrompt,
        addSpecialTokens,
        vocabSize,
        value,
        marginFromScores);
  }

  public ReadOptions withMarginFromScores(boolean value) {
    return new ReadOptions(
        maxLength,
        overlong,
        skipBadLines,
        appendEos,
        useChatTemplate,
        addGenerationPrompt,
        addSpecialTokens,
        vocabSize,
        columns,
        value);
  }
}
