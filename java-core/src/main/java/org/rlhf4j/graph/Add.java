package org.rlhf4j.graph;

import org.rlhf4j.tensor.DType;
import org.rlhf4j.tensor.Kernels;
import org.rlhf4j.tensor.Tensor;

/** The residual sum y = a + b, in a's dtype. */
public final class Add {
  private Add() {}

  public static Var apply(Graph g, Var a, Var b) {
    Tensor y = g.allocate(a.value().dtype(), a.value().shape());
    Kernels.add(y, a.value(), b.value());
    return g.record(
        y,
        a.needsGrad() || b.needsGrad(),
        out -> {
          g.accumulate(a, out.grad(), true);
          if (b.needsGrad()) {
            g.accumulate(b, as(g, b.value().dtype(), out.grad()), true);
          }
        });
  }

  private static Tensor as(Graph g, DType dtype, Tensor grad) {
    if (grad.dtype() == dtype) {
      return grad;
    }
    Tensor cast = g.allocate(dtype, grad.shape());
    Kernels.copy(cast, grad);
    return cast;
  }
}
