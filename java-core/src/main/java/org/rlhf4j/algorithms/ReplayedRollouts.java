package org.rlhf4j.algorithms;

import java.util.Arrays;
import java.util.List;
import java.util.Set;
import org.rlhf4j.data.RecordedRollout;

/** Trajectories read from a file in place of sampling. */
public final class ReplayedRollouts implements RolloutSource {
  private final List<RecordedRollout> recorded;
  private final Set<Integer> eosIds;

  public ReplayedRollouts(List<RecordedRollout> recorded, Set<Integer> eosIds) {
    this.recorded = recorded;
    this.eosIds = eosIds;
  }

  @Override
  public int size() {
    return recorded.size();
  }

  @Override
  public Rollout rollout(int[] chosen, long batch) {
    List<RecordedRollout> picked = Arrays.stream(chosen).mapToObj(recorded::get).toList();
    List<Trajectory> trajectories =
        picked.stream()
            .map(
                r ->
                    new Trajectory(
                        r.queryIds(),
                        r.responseIds(),
                        eosIds.contains(r.responseIds()[r.responseIds().length - 1])))
            .toList();
    boolean scored = picked.stream().allMatch(r -> r.score().isPresent());
    float[] scores = new float[picked.size()];
    for (int i = 0; scored && i < scores.length; i++) {
      scores[i] = (float) picked.get(i).score().getAsDouble();
    }
    return new Rollout(trajectories, scored ? scores : null);
  }
}
