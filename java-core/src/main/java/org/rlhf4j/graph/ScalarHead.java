package org.rlhf4j.graph;

import org.rlhf4j.tensor.DType;
import org.rlhf4j.tensor.Kernels;
import org.rlhf4j.tensor.Tensor;

/** y[t] = x[t] · w + bias in f32: score and value heads. */
public final class ScalarHead {
  private ScalarHead() {}

  /**
   * @param x float [T,H]
   * @param w f32 [1,H], as checkpoints hold it
   * @param bias f32 [1], or null
   */
  public static Var apply(Graph g, Var x, Parameter w, Parameter bias) {
    Tensor weight = w.value().reshape(w.value().elements());
    Tensor y = g.allocate(DType.F32, x.value().size(0));
    Kernels.scalarHead(y, x.value(), weight, bias == null ? null : bias.value());
    return g.record(
        y,
        x.needsGrad() || w.isTrainable(),
        out -> {
          Tensor gradX = x.needsGrad() ? g.allocate(x.value().dtype(), x.value().shape()) : null;
          // The kernel always adds to gradW; a frozen head's is thrown away.
          Tensor gradW =
              w.isTrainable()
                  ? w.grad().reshape(weight.elements())
                  : g.scope().zeros(DType.F32, weight.elements());
          Tensor gradBias = bias == null || !bias.isTrainable() ? null : bias.grad();
          Kernels.scalarHeadBackward(gradX, gradW, gradBias, out.grad(), x.value(), weight);
          if (gradX != null) {
            g.accumulate(x, gradX);
          }
        });
  }
}
