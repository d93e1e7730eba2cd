package org.rlhf4j.tensor;

import java.lang.foreign.MemorySegment;
import org.rlhf4j.bindings.c.rl_sample_config;

/**
 * How a token is drawn.
 *
 * @param temperature 0: greedy
 * @param topK 0: off
 * @param topP 1: off
 */
public record SampleConfig(float temperature, int topK, float topP, long seed) {
  MemorySegment write(Frame f) {
    MemorySegment s = f.take(rl_sample_config.sizeof());
    rl_sample_config.temperature(s, temperature);
    rl_sample_config.top_k(s, topK);
    rl_sample_config.top_p(s, topP);
    rl_sample_config.seed(s, seed);
    return s;
  }
}
