package org.rlhf4j.optim;

import org.rlhf4j.graph.Parameters;
import org.rlhf4j.tensor.AdamWConfig;
import org.rlhf4j.tensor.DType;
import org.rlhf4j.tensor.Kernels;
import org.rlhf4j.tensor.Scope;
import org.rlhf4j.tensor.Tensor;

/**
 * AdamW over one set of parameters, with the gradient's norm clipped: the norm, then one kernel for
 * all of them.
 */
public final class AdamW implements AutoCloseable {
  /**
   * What stays the same from step to step.
   *
   * @param weightDecay on matrices alone
   * @param maxGradNorm 0: no clipping
   */
  public record Hyper(float beta1, float beta2, float eps, float weightDecay, float maxGradNorm) {
    /** torch.optim.AdamW's betas and epsilon, no weight decay, gradients clipped to norm 1. */
    public static Hyper defaults() {
      return new Hyper(0.9f, 0.999f, 1e-8f, 0, 1);
    }
  }

  private final Parameters parameters;
  private final Hyper hyper;
  private final Scope scope;
  private final Tensor m;
  private final Tensor v;
  private final Tensor norm;
  private int steps;

  public AdamW(Parameters parameters, Hyper hyper) {
    this.parameters = parameters;
    this.hyper = hyper;
    scope = parameters.values().device().scope();
    m = scope.zeros(DType.F32, parameters.count());
    v = scope.zeros(DType.F32, parameters.count());
    norm = scope.zeros(DType.F32, 1);
  }

  /**
   * Updates the parameters from their gradients and sets those to zero. The norm is looked at after
   * the update is queued, which leaves everything as it is where the norm is not finite: the device
   * need not wait for the host in between.
   *
   * @return the gradient's norm before clipping
   * @throws ArithmeticException if the norm is not finite; nothing has been updated then
   */
  public double step(double learningRate) {
    Kernels.gradNorm(norm, parameters.grads());
    Kernels.adamw(
        parameters.values(),
        parameters.rounded(),
        m,
        v,
        parameters.grads(),
        norm,
        new AdamWConfig(
            (float) learningRate,
            hyper.beta1(),
            hyper.beta2(),
            hyper.eps(),
            hyper.weightDecay(),
            hyper.maxGradNorm(),
            steps + 1,
            parameters.decayed()));
    double size = norm.item();
    if (!Double.isFinite(size)) {
      throw new ArithmeticException(
          "the gradient's norm is "
              + size
              + " at update "
              + (steps + 1)
              + ": the weights were left as they are");
    }
    steps++;
    return size;
  }

  /** Drops the gradients that have gathered since the last update. */
  public void discard() {
    parameters.zeroGrads();
  }

  /** How many updates have been made. */
  public int steps() {
    return steps;
  }

  /** First and second moments, f32 [n]: what an exact resume needs beside the values. */
  public Tensor firstMoments() {
    return m;
  }

  public Tensor secondMoments() {
    return v;
  }

  /** Continues after {@code steps} updates; the moments are to be filled by the caller. */
  public void resumeAt(int steps) {
    this.steps = steps;
  }

  @Override
  public void close() {
    scope.close();
  }
}
