package org.rlhf4j.algorithms;

import java.util.ArrayList;
import java.util.List;
import org.rlhf4j.graph.Graph;
import org.rlhf4j.graph.Head;
import org.rlhf4j.graph.Var;
import org.rlhf4j.lora.LoraAdapter;
import org.rlhf4j.nn.CausalLm;
import org.rlhf4j.nn.Chunks;
import org.rlhf4j.nn.PackedBatch;
import org.rlhf4j.nn.Policy;
import org.rlhf4j.nn.RewardModel;
import org.rlhf4j.tensor.DType;
import org.rlhf4j.tensor.Kernels;
import org.rlhf4j.tensor.Scope;
import org.rlhf4j.tensor.Tensor;

/**
 * Scores rollouts in one shared pass: each trajectory goes through the base once per role, all
 * roles side by side in one packed batch, so that the base's matrices are read once for policy,
 * reference and reward.
 */
public final class RolloutScorer {
  private final Policy policy;
  private final LoraAdapter reference;
  private final RewardModel reward;
  private final String klPenalty;
  private final float temperature;

  /**
   * @param reference the frozen adapter of the reference (the SFT result), or null: the bare base
   * @param reward null where scores are recorded
   * @param klPenalty kl, abs, mse, k3 or full
   */
  public RolloutScorer(
      Policy policy,
      LoraAdapter reference,
      RewardModel reward,
      String klPenalty,
      float temperature) {
    this.policy = policy;
    this.reference = reference;
    this.reward = reward;
    this.klPenalty = klPenalty;
    this.temperature = temperature;
  }

  /**
   * @param scope owns the result
   * @param recorded scores to use in place of the reward model's, or null
   */
  public Scores score(Scope scope, List<Trajectory> trajectories, float[] recorded) {
    ResponseRows all = ResponseRows.of(trajectories);
    int n = all.tokens();
    Tensor logp = scope.allocate(DType.F32, n);
    Tensor refLogp = scope.allocate(DType.F32, n);
    Tensor kl = scope.allocate(DType.F32, n);
    Tensor values = scope.allocate(DType.F32, n);
    Tensor entropy = scope.allocate(DType.F32, n);
    float[] scores = recorded != null ? recorded.clone() : new float[trajectories.size()];

    List<int[]> sequences = trajectories.stream().map(Trajectory::ids).toList();
    int from = 0;
    while (from < sequences.size()) {
      int to = Chunks.end(sequences, from);
      try (Graph g = Graph.inference(policy.base().device())) {
        int first = all.starts()[from];
        int last = all.starts()[to];
        ResponseRows rows = ResponseRows.of(trajectories.subList(from, to));
        Pass pass = pass(g, sequences.subList(from, to), rows, recorded == null);
        Kernels.copy(logp.rows(first, last), pass.logp);
        Kernels.copy(refLogp.rows(first, last), pass.refLogp);
        Kernels.copy(values.rows(first, last), pass.values);
        Kernels.copy(entropy.rows(first, last), pass.entropy);
        if (pass.fullKl != null) {
          Kernels.copy(kl.rows(first, last), pass.fullKl);
        }
        if (recorded == null) {
          float[] part = pass.scores.toFloats();
          System.arraycopy(part, 0, scores, from, part.length);
        }
      }
      from = to;
    }
    if (!klPenalty.equals("full")) {
      Kernels.klPenalty(kl, logp, refLogp, List.of("kl", "abs", "mse", "k3").indexOf(klPenalty));
    }
    return new Scores(logp, refLogp, kl, values, entropy, scores, scope.of(all.starts()));
  }

  private record Pass(
      Tensor logp, Tensor refLogp, Tensor fullKl, Tensor values, Tensor entropy, Tensor scores) {}

  private Pass pass(Graph g, List<int[]> sequences, ResponseRows rows, boolean withReward) {
    CausalLm base = policy.base();
    Scope scope = g.scope();
    List<PackedBatch.Sequence> packed = new ArrayList<>();
    sequences.forEach(s -> packed.add(new PackedBatch.Sequence(s, policy.adapter())));
    sequences.forEach(s -> packed.add(new PackedBatch.Sequence(s, reference)));
    if (withReward) {
      sequences.forEach(s -> packed.add(new PackedBatch.Sequence(s, reward.adapter())));
    }
    PackedBatch batch = PackedBatch.of(scope, packed);
    Tensor hidden = base.hidden(g, batch).value();

    int b = sequences.size();
    long role = batch.starts()[b]; // rows of one role
    Tensor index = scope.of(rows.rows());
    Tensor targets = scope.of(rows.targets());
    Tensor policyRows = gather(g, hidden.rows(0, role), index);
    Tensor referenceRows = gather(g, hidden.rows(role, 2 * role), index);
    Head.Logprobs mine =
        Head.logprobs(g, g.constant(policyRows), base.head(), null, targets, temperature);
    Head.Logprobs theirs =
        Head.logprobs(g, g.constant(referenceRows), base.head(), null, targets, temperature);
    Var values = policy.values(g, g.constant(policyRows));
    Tensor fullKl =
        klPenalty.equals("full")
            ? Head.fullKl(g, policyRows, referenceRows, base.head(), temperature)
            : null;
    Tensor scores = null;
    if (withReward) {
      int[] last = new int[b];
      for (int i = 0; i < b; i++) {
        last[i] = batch.starts()[2 * b + i + 1] - 1;
      }
      scores = reward.scores(g, g.constant(hidden), scope.of(last)).value();
    }
    return new Pass(
        mine.logp().value(), theirs.logp().value(), fullKl, values.value(), mine.entropy(), scores);
  }

  private static Tensor gather(Graph g, Tensor hidden, Tensor index) {
    Tensor rows = g.allocate(hidden.dtype(), index.elements(), hidden.size(1));
    Kernels.gatherRows(rows, hidden, index);
    return rows;
  }
}
