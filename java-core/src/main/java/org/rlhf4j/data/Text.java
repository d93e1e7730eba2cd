package org.rlhf4j.data;

/**
 * One sequence to generate from, to score, or to tokenise.
 *
 * @param ids tokens; at least one
 * @param text what they say, with a chat template rendered; null when the data gave tokens only
 * @param line where it stands in its file
 */
public record Text(int[] ids, String text, long line) {}
