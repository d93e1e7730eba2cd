package org.rlhf4j.algorithms;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.rlhf4j.tensor.PpoLossStats;

/** Gathers one PPO batch's statistics, and gives them TRL's names. */
final class PpoStats {
  static final int COUNT = PpoLossStats.COUNT;
  static final int POLICYKL = PpoLossStats.POLICYKL;
  static final int ENTROPY = PpoLossStats.ENTROPY;

  private final long began = System.nanoTime();
  private long rolloutEnd;
  private long scoreEnd;
  private int responseTokens;
  private int eos;
  private final List<float[]> minibatches = new ArrayList<>();
  private double normSum;
  private int norms;
  private final List<ScoredTrajectory> scored = new ArrayList<>();
  private final Map<String, Object> objective = new LinkedHashMap<>();

  void rolloutDone(List<Trajectory> trajectories) {
    rolloutEnd = System.nanoTime();
    for (Trajectory t : trajectories) {
      responseTokens += t.response().length;
      eos += t.eos() ? 1 : 0;
    }
  }

  void scoringDone() {
    scoreEnd = System.nanoTime();
  }

  /**
   * @param gradNorm NaN where no update followed
   */
  void minibatch(float[] stats, double gradNorm) {
    minibatches.add(stats);
    if (!Double.isNaN(gradNorm)) {
      normSum += gradNorm;
      norms++;
    }
  }

  /**
   * Takes in the batch's objective; tells its KL: the mean over responses of the sum over tokens.
   */
  double batch(
      List<Trajectory> trajectories,
      Scores judged,
      float[] shaped,
      PpoMath.Advantages gae,
      double klCoef) {
    float[] kl = judged.kl().toFloats();
    float[] entropy = judged.entropy().toFloats();
    float[] returns = gae.returns().toFloats();
    float[] advantages = gae.advantages().toFloats();
    int b = trajectories.size();
    double klSum = 0;
    double scoreSum = 0;
    double shapedSum = 0;
    int at = 0;
    for (int i = 0; i < b; i++) {
      double own = 0;
      for (int t = 0; t < trajectories.get(i).response().length; t++) {
        own += kl[at++];
      }
      klSum += own;
      scoreSum += judged.scores()[i];
      shapedSum += shaped[i];
      scored.add(new ScoredTrajectory(trajectories.get(i), judged.scores()[i], own));
    }
    objective.put("objective/kl", klSum / b);
    objective.put("objective/entropy", mean(entropy));
    objective.put("objective/scores", scoreSum / b);
    objective.put("objective/rlhf_reward", shapedSum / b - klCoef * klSum / b);
    objective.put("objective/kl_coef", klCoef);
    objective.put("ppo/returns/mean", mean(returns));
    objective.put(
        "ppo/val/explained_variance",
        PpoMath.explainedVariance(judged.values().toFloats(), returns));
    objective.put("ppo/advantages/mean", mean(advantages));
    objective.put("tokens/responses_len_mean", (double) responseTokens / b);
    return klSum / b;
  }

  List<ScoredTrajectory> scored() {
    return scored;
  }

  Map<String, Object> metrics(double learningRate, double epoch) {
    long end = System.nanoTime();
    Map<String, Object> m = new LinkedHashMap<>(objective);
    m.put("ppo/loss/policy", mean(PpoLossStats.LOSS_POLICY));
    m.put("ppo/loss/value", mean(PpoLossStats.LOSS_VALUE));
    m.put("ppo/loss/total", mean(PpoLossStats.LOSS_TOTAL));
    m.put("ppo/policy/clipfrac", mean(PpoLossStats.POLICY_CLIPFRAC));
    m.put("ppo/policy/approxkl", mean(PpoLossStats.APPROXKL));
    m.put("ppo/policy/policykl", mean(POLICYKL));
    m.put("ppo/policy/ratio_mean", mean(PpoLossStats.RATIO_MEAN));
    m.put("ppo/policy/first_ratio_mean", minibatches.get(0)[PpoLossStats.RATIO_MEAN]);
    m.put("ppo/policy/entropy", mean(ENTROPY));
    m.put("ppo/val/clipfrac", mean(PpoLossStats.VALUE_CLIPFRAC));
    m.put("ppo/val/error", mean(PpoLossStats.VALUE_ERROR));
    m.put("ppo/val/mean", mean(PpoLossStats.VALUE_MEAN));
    m.put(
        "ppo/skipped_minibatches",
        minibatches.stream().mapToInt(s -> (int) s[PpoLossStats.SKIPPED]).sum());
    m.put("val/num_eos_tokens", eos);
    m.put("loss", m.get("ppo/loss/total"));
    m.put("learning_rate", learningRate);
    m.put("grad_norm", norms == 0 ? 0 : normSum / norms);
    m.put("epoch", epoch);
    m.put("time/rollout", (rolloutEnd - began) / 1e9);
    m.put("time/score", (scoreEnd - rolloutEnd) / 1e9);
    m.put("time/update", (end - scoreEnd) / 1e9);
    m.put("tokens_per_second", responseTokens / ((end - began) / 1e9));
    return m;
  }

  private double mean(int stat) {
    return minibatches.stream().mapToDouble(s -> s[stat]).average().orElse(0);
  }

  private static double mean(float[] xs) {
    double sum = 0;
    for (float x : xs) {
      sum += x;
    }
    return sum / xs.length;
  }
}
