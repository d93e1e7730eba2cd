package org.rlhf4j.nn;

import java.util.List;
import java.util.SplittableRandom;
import org.rlhf4j.graph.GatherRows;
import org.rlhf4j.graph.Graph;
import org.rlhf4j.graph.Parameters;
import org.rlhf4j.graph.ScalarHead;
import org.rlhf4j.graph.Var;
import org.rlhf4j.lora.LoraAdapter;
import org.rlhf4j.lora.LoraConfig;
import org.rlhf4j.tensor.Tensor;

/**
 * The reward model: an adapter on the shared base, and a score head (hidden → 1, no bias) read at a
 * sequence's last token.
 *
 * @param adapter also holds the score head's weight
 */
public record RewardModel(CausalLm base, LoraAdapter adapter) {
  /** The head's name in transformers' AutoModelForSequenceClassification. */
  public static final String SCORE = "score.weight";

  /**
   * A new reward model; the head is drawn from N(0, 1/(H+1)). (Huang et al., "The N implementation
   * details")
   */
  public static RewardModel create(CausalLm base, LoraConfig config, long seed) {
    ModelConfig c = base.config();
    RewardModel model =
        new RewardModel(
            base,
            new LoraAdapter(base.device(), config, CausalLm.modules(c), scoreHead(c), true, seed));
    java.util.Random random = new java.util.Random(new SplittableRandom(seed).split().nextLong());
    float[] w = new float[c.hiddenSize()];
    for (int i = 0; i < w.length; i++) {
      w[i] = (float) (random.nextGaussian() / Math.sqrt(c.hiddenSize() + 1.0));
    }
    model.adapter.parameters().get(SCORE).value().copyFrom(w);
    return model;
  }

  /** The score head's parameter: weight [1,H]. */
  public static List<Parameters.Spec> scoreHead(ModelConfig config) {
    return List.of(Parameters.Spec.of(SCORE, 1, config.hiddenSize()));
  }

  /**
   * @param hidden float [T,H]
   * @param last i32 [B], the row of each sequence's last token
   * @return f32 [B]
   */
  public Var scores(Graph g, Var hidden, Tensor last) {
    return ScalarHead.apply(
        g, GatherRows.apply(g, hidden, last), adapter.parameters().get(SCORE), null);
  }

  /** The scores of whole sequences, in passes of bounded size. */
  public float[] score(List<int[]> sequences) {
    float[] scores = new float[sequences.size()];
    int from = 0;
    while (from < scores.length) {
      int to = Chunks.end(sequences, from);
      try (Graph g = Graph.inference(base.device())) {
        PackedBatch batch = PackedBatch.of(g.scope(), sequences.subList(from, to), adapter);
        int[] last = new int[to - from];
        for (int i = 0; i < last.length; i++) {
          last[i] = batch.starts()[i + 1] - 1;
        }
        float[] part = scores(g, base.hidden(g, batch), g.scope().of(last)).value().toFloats();
        System.arraycopy(part, 0, scores, from, part.length);
      }
      from = to;
    }
    return scores;
  }
}
