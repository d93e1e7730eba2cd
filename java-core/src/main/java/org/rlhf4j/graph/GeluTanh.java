package org.rlhf4j.graph;

import org.rlhf4j.tensor.Kernels;
import org.rlhf4j.tensor.Tensor;

/** GELU by its tanh approximation: of a matrix, or as the gate of its other half. */
public final class GeluTanh {
  private GeluTanh() {}

  /** y = gelu(x), float [T,I]. */
  public static Var apply(Graph g, Var x) {
    return apply(g, x, x.value().size(1), false);
  }

  /** y = gelu(gate) · up, where one matrix [T, 2I] holds gate and up side by side. */
  public static Var gated(Graph g, Var gateUp) {
    return apply(g, gateUp, gateUp.value().size(1) / 2, true);
  }

  private static Var apply(Graph g, Var in, long n, boolean gated) {
    Tensor x = in.value();
    Tensor gate = x.columns(0, n);
    Tensor up = gated ? x.columns(n, 2 * n) : null;
    Tensor y = g.allocate(x.dtype(), x.size(0), n);
    Kernels.geluTanh(y, gate, up);
    return g.record(
        y,
        in.needsGrad(),
        out -> {
          Tensor grad = g.allocate(x.dtype(), x.shape());
          Tensor gradUp = gated ? grad.columns(n, 2 * n) : null;
          Kernels.geluTanhBackward(grad.columns(0, n), gradUp, out.grad(), gate, up);
          g.accumulate(in, grad);
        });
  }
}
