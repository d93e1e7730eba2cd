package org.rlhf4j.graph;

import org.rlhf4j.tensor.DType;
import org.rlhf4j.tensor.Kernels;
import org.rlhf4j.tensor.Tensor;
import org.rlhf4j.tensor.Weight;

/** y[t] = table[ids[t]], in f32: the residual stream's dtype. */
public final class Embedding {
  private Embedding() {}

  public static Var apply(Graph g, Parameter table, Tensor ids) {
    Tensor y = g.allocate(DType.F32, ids.elements(), table.compute().size(1));
    Kernels.embedding(y, table.compute(), ids);
    return g.record(
        y, table.isTrainable(), out -> Kernels.embeddingBackward(table.grad(), out.grad(), ids));
  }

  /** The same from a frozen head's matrix, which a tied embedding shares. */
  public static Var apply(Graph g, Weight head, Tensor ids) {
    Tensor y = g.allocate(DType.F32, ids.elements(), head.in());
    Kernels.weightRows(y, head, ids);
    return g.constant(y);
  }
}
