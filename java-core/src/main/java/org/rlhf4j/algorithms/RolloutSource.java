package org.rlhf4j.algorithms;

import java.util.List;

/** Where PPO's trajectories come from: sampling from the policy, or recorded rollouts. */
public interface RolloutSource {
  /**
   * A batch of trajectories.
   *
   * @param scores as recorded, or null: the reward model is to judge
   */
  record Rollout(List<Trajectory> trajectories, float[] scores) {}

  /** How many queries (or recorded rollouts) there are. */
  int size();

  /**
   * Trajectories for these queries. {@code batch} counts batches from 0: the same batch is sampled
   * the same way again.
   */
  Rollout rollout(int[] queries, long batch);
}
