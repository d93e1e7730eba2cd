package org.rlhf4j.graph;

import org.rlhf4j.tensor.DType;
import org.rlhf4j.tensor.Kernels;
import org.rlhf4j.tensor.Tensor;
import org.rlhf4j.tensor.Weight;

/**
 * The language-model head's fused ops: no [tokens, vocabulary] matrix exists outside the kernel's
 * chunks.
 */
public final class Head {
  private Head() {}

  /**
   * What the head says of given tokens.
   *
   * @param logp f32 [T], log-probability of each target
   * @param entropy f32 [T] of the distribution (a value: its gradient is not taken)
   */
  public record Logprobs(Var logp, Tensor entropy) {}

  /**
   * @param x float [T,H], the hidden states that predict
   * @param gradW f32 [V,H], or null if the head is frozen
   * @param targets i32 [T]
   */
  public static Logprobs logprobs(
      Graph g, Var x, Weight w, Tensor gradW, Tensor targets, float temperature) {
    long tokens = x.value().size(0);
    Tensor logp = g.allocate(DType.F32, tokens);
    Tensor entropy = g.allocate(DType.F32, tokens);
    Tensor lse = g.allocate(DType.F32, tokens);
    Kernels.headLogprob(logp, entropy, lse, x.value(), w, targets, temperature);
    Var out =
        g.record(
            logp,
            x.needsGrad() || gradW != null,
            y -> {
              Tensor gradX =
                  x.needsGrad() ? g.allocate(x.value().dtype(), x.value().shape()) : null;
              Kernels.headLogprobBackward(
                  gradX, gradW, y.grad(), null, x.value(), w, targets, lse, null, temperature);
              if (gradX != null) {
                g.accumulate(x, gradX);
              }
            });
    return new Logprobs(out, entropy);
  }

  /**
   * Cross entropy with the gradient taken in the same sweep: hands gradScale times the gradient of
   * the <em>sum</em> over targets to x and to gradW at once, so x's gradient is set when this
   * returns.
   *
   * @param targets i32 [T]; -100: not counted
   * @return f32 [2]: the sum of the losses, and how many tokens counted
   */
  public static Tensor crossEntropy(
      Graph g, Var x, Weight w, Tensor gradW, Tensor targets, float gradScale) {
    Tensor loss = g.allocate(DType.F32, 2);
    boolean backward = g.isRecording() && x.needsGrad();
    Tensor gradX = backward ? g.allocate(x.value().dtype(), x.value().shape()) : null;
    Kernels.headCrossEntropy(
        loss, gradX, g.isRecording() ? gradW : null, x.value(), w, targets, gradScale);
    if (backward) {
      g.accumulate(x, gradX);
    }
    return loss;
  }

  /**
   * Σ p (log p − log q) over the vocabulary, p from x, q from xRef, through one head. f32 [T]; a
   * value, with no backward.
   */
  public static Tensor fullKl(Graph g, Tensor x, Tensor xRef, Weight w, float temperature) {
    long tokens = x.size(0);
    Tensor kl = g.allocate(DType.F32, tokens);
    Tensor lse = g.allocate(DType.F32, tokens);
    Tensor lseRef = g.allocate(DType.F32, tokens);
    Kernels.headFullKl(kl, lse, lseRef, x, w, xRef, w, temperature);
    return kl;
  }

  /** All logits, f32 [T,V]: for sampling and for inspection, never for a loss. */
  public static Tensor logits(Graph g, Tensor x, Weight w) {
    Tensor logits = g.allocate(DType.F32, x.size(0), w.out());
    Kernels.linear(logits, x, w, null, false);
    return logits;
  }
}
