package org.rlhf4j.report;

import java.util.ArrayList;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** What each metric means, in a line, and the order in which a reader wants them. */
final class MetricGuide {
  private static final Map<String, String> MEANING = new LinkedHashMap<>();

  static {
    put("objective/scores", "Mean score of the reward model, before the KL penalty. Should rise.");
    put(
        "objective/kl",
        "KL to the reference, in nats a response. Should rise slowly and stay moderate.");
    put("objective/rlhf_reward", "Score less the KL penalty: what PPO maximises.");
    put("objective/entropy", "Entropy of the policy, in nats a token. A fall to 0 is a collapse.");
    put("objective/kl_coef", "Weight of the KL penalty.");
    put("loss", "What is minimised.");
    put("eval/loss", "Loss on the evaluation data.");
    put("accuracy", "Share of pairs in which the chosen answer scores higher.");
    put("eval/accuracy", "Accuracy on the evaluation data.");
    put("margin", "Mean score of chosen less rejected.");
    put("ppo/loss/policy", "Clipped policy loss.");
    put("ppo/loss/value", "Clipped value loss.");
    put("ppo/loss/total", "Policy loss + vf_coef × value loss.");
    put("ppo/policy/clipfrac", "Share of tokens whose ratio was clipped; 0.05 to 0.3 is usual.");
    put("ppo/policy/approxkl", "How far a batch's updates moved the policy, in nats a token.");
    put("ppo/policy/policykl", "The same, by the other estimator.");
    put("ppo/policy/ratio_mean", "Mean ratio of new to old probability.");
    put(
        "ppo/policy/first_ratio_mean",
        "Mean ratio before a batch's first update: 1, if all is computed alike.");
    put("ppo/val/explained_variance", "How much of the returns the value head foresees; 1 is all.");
    put("ppo/val/clipfrac", "Share of tokens whose value was clipped.");
    put("ppo/returns/mean", "Mean return of a token.");
    put("ppo/advantages/mean", "Mean advantage of a token; 0 where advantages are whitened.");
    put("val/num_eos_tokens", "Responses of the batch that ended by themselves.");
    put("tokens/responses_len_mean", "Mean length of the responses, in tokens.");
    put("grad_norm", "Norm of the gradient, before clipping.");
    put("learning_rate", "Learning rate of the step.");
    put("epoch", "Passes over the data so far.");
    put("tokens_per_second", "Speed.");
    put("time/rollout", "Seconds of sampling in a batch.");
    put("time/score", "Seconds of scoring in a batch.");
    put("time/update", "Seconds of updating in a batch.");
  }

  private MetricGuide() {}

  private static void put(String name, String meaning) {
    MEANING.put(name, meaning);
  }

  /** Empty for a metric that is not known. */
  static String meaning(String metric) {
    return MEANING.getOrDefault(metric, "");
  }

  /** The known ones in this guide's order, then the others in theirs. */
  static List<String> order(Collection<String> metrics) {
    List<String> ordered = new ArrayList<>(MEANING.keySet());
    ordered.retainAll(metrics);
    metrics.stream().filter(m -> !MEANING.containsKey(m)).forEach(ordered::add);
    return ordered;
  }
}
