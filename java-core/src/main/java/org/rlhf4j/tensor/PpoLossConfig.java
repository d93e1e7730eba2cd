package org.rlhf4j.tensor;

import java.lang.foreign.MemorySegment;
import org.rlhf4j.bindings.c.rl_ppo_config;

/**
 * The constants of the PPO loss.
 *
 * @param cliprange epsilon of the policy's ratio
 * @param cliprangeValue epsilon of the value
 * @param vfCoef weight of the value loss in the total
 * @param ratioThreshold a minibatch whose mean ratio exceeds it is skipped; 0: never
 * @param logRatioClamp bound on |logp - old logp|; 0: none
 * @param dualClip bound on the loss of negative advantages, greater than 1; 0: none
 * @param gradScale multiplies the gradients
 */
public record PpoLossConfig(
    float cliprange,
    float cliprangeValue,
    float vfCoef,
    float ratioThreshold,
    float logRatioClamp,
    float dualClip,
    float gradScale) {
  MemorySegment write(Frame f) {
    MemorySegment s = f.take(rl_ppo_config.sizeof());
    rl_ppo_config.cliprange(s, cliprange);
    rl_ppo_config.cliprange_value(s, cliprangeValue);
    rl_ppo_config.vf_coef(s, vfCoef);
    rl_ppo_config.ratio_threshold(s, ratioThreshold);
    rl_ppo_config.log_ratio_clamp(s, logRatioClamp);
    rl_ppo_config.dual_clip(s, dualClip);
    rl_ppo_config.grad_scale(s, gradScale);
    return s;
  }
}
