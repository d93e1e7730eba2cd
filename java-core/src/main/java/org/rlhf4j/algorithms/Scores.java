package org.rlhf4j.algorithms;

import org.rlhf4j.tensor.Tensor;

/**
 * What one shared pass says of a batch of trajectories. N is the number of response tokens of the
 * whole batch, packed.
 *
 * @param logp f32 [N], of the policy
 * @param refLogp f32 [N], of the reference
 * @param kl f32 [N], by the configured penalty
 * @param values f32 [N], read at the token before the one they judge
 * @param entropy f32 [N], of the policy
 * @param scores [B], of the reward model, or as recorded
 * @param starts i32 [B+1], where each response begins among the N
 */
public record Scores(
    Tensor logp,
    Tensor refLogp,
    Tensor kl,
    Tensor values,
    Tensor entropy,
    float[] scores,
    Tensor starts) {}
