package org.rlhf4j.tensor;

import org.rlhf4j.bindings.c.Rlhf4j;

/** Where {@link Kernels#ppoLoss} puts what in its statistics. */
public final class PpoLossStats {
  /** The length of the statistics. */
  public static final int COUNT = Rlhf4j.RL_PPO_STATS();

  public static final int LOSS_POLICY = Rlhf4j.RL_PPO_LOSS_POLICY();
  public static final int LOSS_VALUE = Rlhf4j.RL_PPO_LOSS_VALUE();
  public static final int LOSS_TOTAL = Rlhf4j.RL_PPO_LOSS_TOTAL();
  public static final int POLICY_CLIPFRAC = Rlhf4j.RL_PPO_POLICY_CLIPFRAC();
  public static final int VALUE_CLIPFRAC = Rlhf4j.RL_PPO_VALUE_CLIPFRAC();
  public static final int APPROXKL = Rlhf4j.RL_PPO_APPROXKL();
  public static final int POLICYKL = Rlhf4j.RL_PPO_POLICYKL();
  public static final int RATIO_MEAN = Rlhf4j.RL_PPO_RATIO_MEAN();
  public static final int SKIPPED = Rlhf4j.RL_PPO_SKIPPED();
  public static final int VALUE_ERROR = Rlhf4j.RL_PPO_VALUE_ERROR();
  public static final int RETURNS_VAR = Rlhf4j.RL_PPO_RETURNS_VAR();
  public static final int VALUE_MEAN = Rlhf4j.RL_PPO_VALUE_MEAN();
  public static final int ENTROPY = Rlhf4j.RL_PPO_ENTROPY();

  private PpoLossStats() {}
}
