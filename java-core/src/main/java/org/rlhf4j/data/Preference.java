package org.rlhf4j.data;

/**
 * Two answers to one question.
 *
 * @param chosenIds question and better answer
 * @param rejectedIds question and worse answer
 * @param promptLength tokens at the start of both that are the question; 0 when the data does not
 *     say
 * @param margin by how much the scores should differ at least; 0 by default
 * @param line where it stands in its file
 */
public record Preference(
    int[] chosenIds, int[] rejectedIds, int promptLength, float margin, long line) {}
