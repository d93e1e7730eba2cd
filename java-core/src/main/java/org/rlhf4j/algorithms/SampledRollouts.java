package org.rlhf4j.algorithms;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.rlhf4j.generate.Generation;
import org.rlhf4j.generate.GenerationConfig;
import org.rlhf4j.generate.Generator;
import org.rlhf4j.nn.Policy;

/** Responses sampled from the policy as it is now. */
public final class SampledRollouts implements RolloutSource {
  private final Policy policy;
  private final Generator generator;
  private final List<int[]> queries;
  private final GenerationConfig config;

  public SampledRollouts(Policy policy, List<int[]> queries, GenerationConfig config) {
    this.policy = policy;
    this.generator = new Generator(policy.base());
    this.queries = queries;
    this.config = config;
  }

  @Override
  public int size() {
    return queries.size();
  }

  @Override
  public Rollout rollout(int[] chosen, long batch) {
    List<int[]> prompts = Arrays.stream(chosen).mapToObj(queries::get).toList();
    List<Trajectory> trajectories = new ArrayList<>();
    for (Generation g : generator.generate(prompts, policy.adapter(), config, batch * 4096)) {
      trajectories.add(new Trajectory(g.promptIds(), g.ids(), g.finish() == Generation.Finish.EOS));
    }
    return new Rollout(trajectories, null);
  }
}
