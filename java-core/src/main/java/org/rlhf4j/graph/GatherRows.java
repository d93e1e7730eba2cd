package org.rlhf4j.graph;

import org.rlhf4j.tensor.Kernels;
import org.rlhf4j.tensor.Tensor;

/** y[m] = x[index[m]]: the rows that a head is to see. */
public final class GatherRows {
  private GatherRows() {}

  /** x float [T,H], index i32 [M]; y [M,H]. */
  public static Var apply(Graph g, Var x, Tensor index) {
    Tensor y = g.allocate(x.value().dtype(), index.elements(), x.value().size(1));
    Kernels.gatherRows(y, x.value(), index);
    return g.record(
        y,
        x.needsGrad(),
        out -> {
          Tensor gradX = g.allocate(x.value().dtype(), x.value().shape());
          Kernels.gatherRowsBackward(gradX, out.grad(), index);
          g.accumulate(x, gradX);
        });
  }
}
