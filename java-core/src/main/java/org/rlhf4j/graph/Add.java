package org.rlhf4j.graph;

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
          g.pass(a, out);
          if (out.grad().dtype() == b.value().dtype()) {
            g.pass(b, out);
          } else if (b.needsGrad()) {
            Tensor cast = g.allocate(b.value().dtype(), out.grad().shape());
            Kernels.copy(cast, out.grad());
            g.accumulate(b, cast);
          }
        });
  }
}
