package org.rlhf4j.demo;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Function;
import org.rlhf4j.algorithms.RolloutScorer;
import org.rlhf4j.algorithms.Scores;
import org.rlhf4j.algorithms.Trajectory;
import org.rlhf4j.demo.DemoData.Question;
import org.rlhf4j.generate.Generation;
import org.rlhf4j.generate.GenerationConfig;
import org.rlhf4j.generate.Generator;
import org.rlhf4j.nn.CausalLm;
import org.rlhf4j.nn.Policy;
import org.rlhf4j.nn.RewardModel;
import org.rlhf4j.tensor.Scope;
import org.rlhf4j.tokenizer.Tokenizer;

/**
 * How a policy does on questions that no stage has seen: the learned reward, the rule, and its
 * distance from the reference.
 */
public final class Evaluation {
  private static final int SHOWN = 6;

  private final CausalLm base;
  private final RewardModel reward;
  private final Tokenizer tokenizer;
  private final List<Question> questions;
  private final Function<String, int[]> prompt;
  private final GenerationConfig sampling;

  Evaluation(
      CausalLm base,
      RewardModel reward,
      Tokenizer tokenizer,
      List<Question> questions,
      Function<String, int[]> prompt,
      GenerationConfig sampling) {
    this.base = base;
    this.reward = reward;
    this.tokenizer = tokenizer;
    this.questions = questions;
    this.prompt = prompt;
    this.sampling = sampling;
  }

  /** A question, an answer to it, and what the reward model and the rule say. */
  public record Sample(String query, String response, double reward, double rule) {
    Map<String, Object> fields() {
      Map<String, Object> fields = new LinkedHashMap<>();
      fields.put("query", query);
      fields.put("response", response);
      fields.put("score", reward);
      fields.put("rule", rule);
      return fields;
    }
  }

  /**
   * Means over all questions.
   *
   * @param kl nats of a whole answer, policy against reference
   */
  public record Outcome(double reward, double rule, double kl, List<Sample> samples) {}

  /** Samples one answer to each question, with the same random numbers every time. */
  Outcome of(Policy policy) {
    List<int[]> prompts = questions.stream().map(q -> prompt.apply(q.text())).toList();
    List<Trajectory> trajectories = new ArrayList<>();
    for (Generation g :
        new Generator(base).generate(prompts, policy.adapter(), sampling, 1 << 20)) {
      trajectories.add(new Trajectory(g.promptIds(), g.ids(), g.finish() == Generation.Finish.EOS));
    }
    List<Sample> samples = new ArrayList<>();
    double rewards = 0;
    double rules = 0;
    double kls = 0;
    try (Scope scope = base.device().scope()) {
      Scores scores =
          new RolloutScorer(policy, null, reward, "full", 1).score(scope, trajectories, null);
      for (float kl : scores.kl().toFloats()) {
        kls += kl;
      }
      for (int i = 0; i < trajectories.size(); i++) {
        Trajectory t = trajectories.get(i);
        String text = tokenizer.decode(t.response(), true);
        double rule = Rule.score(questions.get(i).topic(), text, t.eos());
        rewards += scores.scores()[i];
        rules += rule;
        if (i % Math.max(1, questions.size() / SHOWN) == 0 && samples.size() < SHOWN) {
          samples.add(new Sample(questions.get(i).text(), text, scores.scores()[i], rule));
        }
      }
    }
    int n = trajectories.size();
    return new Outcome(rewards / n, rules / n, kls / n, samples);
  }
}
