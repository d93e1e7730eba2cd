package org.rlhf4j.data;

/**
 * One example for fine-tuning.
 *
 * @param ids prompt and completion
 * @param promptLength tokens at the start that are not learnt; less than {@code ids.length}
 * @param line where it stands in its file (a line, an element or a row)
 */
public record Demonstration(int[] ids, int promptLength, long line) {}
