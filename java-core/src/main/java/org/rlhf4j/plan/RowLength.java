package org.rlhf4j.plan;

/**
 * How long one row of a stage's data is: all that its memory and time depend on.
 *
 * @param tokens sft: prompt and completion; reward: the chosen one; ppo: the query
 * @param other sft: the prompt's part of them; reward: the rejected one; ppo: 0
 */
public record RowLength(int tokens, int other) {}
