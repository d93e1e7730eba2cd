package org.rlhf4j.graph;

import org.rlhf4j.tensor.DType;
import org.rlhf4j.tensor.Kernels;
import org.rlhf4j.tensor.Tensor;

/** y = w x / sqrt(mean(x²) + eps) over the last dimension, given out in {@code dtype}. */
public final class RmsNorm {
  private RmsNorm() {}

  public static Var apply(Graph g, Var x, Parameter w, float eps, DType dtype) {
    Tensor y = g.allocate(dtype, x.value().shape());
    Kernels.rmsNorm(y, x.value(), w.value(), eps);
    return g.record(
        y,
        x.needsGrad() || w.isTrainable(),
        out -> {
          Tensor gradX = g.allocate(x.value().dtype(), x.value().shape());
          Kernels.rmsNormBackward(gradX, w.grad(), out.grad(), x.value(), w.value(), eps);
          g.accumulate(x, gradX);
        });
  }
}
