package org.rlhf4j.tensor;

import java.lang.foreign.MemorySegment;
import org.rlhf4j.bindings.c.rl_adamw_config;

/**
 * One AdamW update.
 *
 * @param maxGradNorm gradients are scaled to at most this norm; 0: no clipping
 * @param step counts from 1
 * @param decayed how many elements, from the front, take weight decay
 */
public record AdamWConfig(
    float lr,
    float beta1,
    float beta2,
    float eps,
    float weightDecay,
    float maxGradNorm,
    int step,
    long decayed) {
  MemorySegment write(Frame f) {
    MemorySegment s = f.take(rl_adamw_config.sizeof());
    rl_adamw_config.lr(s, lr);
    rl_adamw_config.beta1(s, beta1);
    rl_adamw_config.beta2(s, beta2);
    rl_adamw_config.eps(s, eps);
    rl_adamw_config.weight_decay(s, weightDecay);
    rl_adamw_config.max_grad_norm(s, maxGradNorm);
    rl_adamw_config.step(s, step);
    rl_adamw_config.decayed(s, decayed);
    return s;
  }
}
