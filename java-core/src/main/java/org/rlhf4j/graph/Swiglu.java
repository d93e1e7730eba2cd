package org.rlhf4j.graph;

import org.rlhf4j.tensor.Kernels;
import org.rlhf4j.tensor.Tensor;

/** y = silu(gate) · up, where one matrix [T, 2I] holds gate and up side by side. */
public final class Swiglu {
  private Swiglu() {}

  public static Var apply(Graph g, Var gateUp) {
    Tensor x = gateUp.value();
    long n = x.size(1) / 2;
    Tensor y = g.allocate(x.dtype(), x.size(0), n);
    Kernels.swiglu(y, x.columns(0, n), x.columns(n, 2 * n));
    return g.record(
        y,
        gateUp.needsGrad(),
        out -> {
          Tensor grad = g.allocate(x.dtype(), x.shape());
          Kernels.swigluBackward(
              grad.columns(0, n),
              grad.columns(n, 2 * n),
              out.grad(),
              x.columns(0, n),
              x.columns(n, 2 * n));
          g.accumulate(gateUp, grad);
        });
  }
}
