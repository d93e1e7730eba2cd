package org.rlhf4j.data;

import java.util.OptionalDouble;

/**
 * A response that was sampled before, to be used in place of sampling.
 *
 * @param queryIds tokens of the prompt
 * @param responseIds tokens of the response, EOS included where it ended
 * @param score the reward model's score, if it was recorded
 * @param line where it stands in its file
 */
public record RecordedRollout(int[] queryIds, int[] responseIds, OptionalDouble score, long line) {}
