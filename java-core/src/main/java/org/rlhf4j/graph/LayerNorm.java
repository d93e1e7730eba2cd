package org.rlhf4j.graph;

import org.rlhf4j.tensor.DType;
import org.rlhf4j.tensor.Kernels;
import org.rlhf4j.tensor.Tensor;

/** y = w (x − mean(x)) / sqrt(var(x) + eps) + bias over the last dimension, in {@code dtype}. */
public final class LayerNorm {
  private LayerNorm() {}

  public static Var apply(Graph g, Var x, Parameter w, Parameter bias, float eps, DType dtype) {
    Tensor y = g.allocate(dtype, x.value().shape());
    Kernels.layerNorm(y, x.value(), w.value(), bias.value(), eps);
    return g.record(
        y,
        x.needsGrad() || w.isTrainable(),
        out -> {
          Tensor gradX = g.allocate(x.value().dtype(), x.value().shape());
          Kernels.layerNormBackward(
              gradX, w.grad(), bias.grad(), out.grad(), x.value(), w.value(), eps);
          g.accumulate(x, gradX);
        });
  }
}
