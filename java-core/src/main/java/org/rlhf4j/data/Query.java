package org.rlhf4j.data;

/**
 * One prompt for PPO and its kin.
 *
 * @param ids tokens; at least one
 * @param text what they say; null when the data gave tokens only
 * @param line where it stands in its file
 */
public record Query(int[] ids, String text, long line) {}
