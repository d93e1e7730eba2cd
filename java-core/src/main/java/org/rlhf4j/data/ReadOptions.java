package org.rlhf4j.data;

/**
 * How data files are read.
 *
 * @param maxLength tokens of the longest sequence; longer ones are truncated as each reader says,
 *     and counted; 0: no limit
 * @param skipBadLines count bad lines and go on, where otherwise the first one stops the run
 * @param appendEos whether EOS is added to texts; {@link AppendEos#AUTO} is what each reader says
 * @param useChatTemplate wrap plain questions as a user's message (and answers as the assistant's)
 *     by the chat template
 * @param addGenerationPrompt for plain message lists ({@link Texts}): also open the assistant's
 *     turn
 * @param addSpecialTokens let the tokenizer add its own special tokens to plain text, as
 *     transformers does by default; never done to rendered templates, which contain them
 * @param vocabSize token ids in the data must be below it; 0: the tokenizer's size
 */
public record ReadOptions(
    int maxLength,
    boolean skipBadLines,
    AppendEos appendEos,
    boolean useChatTemplate,
    boolean addGenerationPrompt,
    boolean addSpecialTokens,
    int vocabSize) {
  /** Whether EOS is added after a text that does not end with it. */
  public enum AppendEos {
    AUTO,
    YES,
    NO
  }

  public static ReadOptions defaults() {
    return new ReadOptions(0, false, AppendEos.AUTO, false, false, true, 0);
  }

  public ReadOptions withMaxLength(int value) {
    return new ReadOptions(
        value,
        skipBadLines,
        appendEos,
        useChatTemplate,
        addGenerationPrompt,
        addSpecialTokens,
        vocabSize);
  }

  public ReadOptions withSkipBadLines(boolean value) {
    return new ReadOptions(
        maxLength,
        value,
        appendEos,
        useChatTemplate,
        addGenerationPrompt,
        addSpecialTokens,
        vocabSize);
  }

  public ReadOptions withAppendEos(AppendEos value) {
    return new ReadOptions(
        maxLength,
        skipBadLines,
        value,
        useChatTemplate,
        addGenerationPrompt,
        addSpecialTokens,
        vocabSize);
  }

  public ReadOptions withUseChatTemplate(boolean value) {
    return new ReadOptions(
        maxLength,
        skipBadLines,
        appendEos,
        value,
        addGenerationPrompt,
        addSpecialTokens,
        vocabSize);
  }

  public ReadOptions withAddGenerationPrompt(boolean value) {
    return new ReadOptions(
        maxLength, skipBadLines, appendEos, useChatTemplate, value, addSpecialTokens, vocabSize);
  }

  public ReadOptions withAddSpecialTokens(boolean value) {
    return new ReadOptions(
        maxLength, skipBadLines, appendEos, useChatTemplate, addGenerationPrompt, value, vocabSize);
  }

  public ReadOptions withVocabSize(int value) {
    return new ReadOptions(
        maxLength,
        skipBadLines,
        appendEos,
        useChatTemplate,
        addGenerationPrompt,
        addSpecialTokens,
        value);
  }
}
