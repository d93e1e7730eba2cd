package org.rlhf4j.tensor;

import java.lang.foreign.MemorySegment;
import org.rlhf4j.bindings.c.rl_advantages_config;

/**
 * How scores become advantages.
 *
 * @param beta weight of the KL in the rewards
 * @param gamma discount
 * @param lam lambda of generalised advantage estimation
 * @param whitenRewards to variance 1, with their mean kept
 * @param whitenAdvantages to mean 0 and variance 1
 */
public record AdvantagesConfig(
    float beta, float gamma, float lam, boolean whitenRewards, boolean whitenAdvantages) {
  MemorySegment write(Frame f) {
    MemorySegment s = f.take(rl_advantages_config.sizeof());
    rl_advantages_config.beta(s, beta);
    rl_advantages_config.gamma(s, gamma);
    rl_advantages_config.lam(s, lam);
    rl_advantages_config.whiten_rewards(s, whitenRewards ? 1 : 0);
    rl_advantages_config.whiten_advantages(s, whitenAdvantages ? 1 : 0);
    return s;
  }
}
