package org.rlhf4j.generate;

import java.util.Set;

/**
 * How to continue a prompt.
 *
 * @param temperature 0: greedy
 * @param topK 0: off
 * @param topP 1: off
 * @param eosIds tokens that end a sequence; empty: only the length does
 */
public record GenerationConfig(
    int maxNewTokens,
    int minNewTokens,
    float temperature,
    int topK,
    float topP,
    Set<Integer> eosIds,
    long seed) {
  public static GenerationConfig greedy(int maxNewTokens, Set<Integer> eosIds) {
    return new GenerationConfig(maxNewTokens, 0, 0, 0, 1, eosIds, 0);
  }

  public static GenerationConfig sampling(int maxNewTokens, Set<Integer> eosIds, long seed) {
    return new GenerationConfig(maxNewTokens, 0, 1, 0, 1, eosIds, seed);
  }
}
