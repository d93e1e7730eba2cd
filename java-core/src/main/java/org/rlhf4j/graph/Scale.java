package org.rlhf4j.graph;

import org.rlhf4j.tensor.Kernels;
import org.rlhf4j.tensor.Tensor;

/** y = factor · x, in x's dtype. */
public final class Scale {
  private Scale() {}

  public static Var apply(Graph g, Var x, float factor) {
    Tensor y = g.allocate(x.value().dtype(), x.value().shape());
    Kernels.scale(y, x.value(), factor);
    return g.record(
        y,
        x.needsGrad(),
        out -> {
          Tensor gradX = g.allocate(x.value().dtype(), x.value().shape());
          Kernels.scale(gradX, out.grad(), factor);
          g.accumulate(x, gradX);
        });
  }
}
