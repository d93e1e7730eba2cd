package org.rlhf4j.algorithms;

/**
 * A trajectory with what was found of it: a line of rollouts.jsonl.
 *
 * @param score of the reward model, before the KL penalty
 * @param kl summed over its tokens
 */
public record ScoredTrajectory(Trajectory trajectory, double score, double kl) {}
