package org.rlhf4j.graph;

import org.rlhf4j.tensor.Kernels;
import org.rlhf4j.tensor.Tensor;

/** RMS norm of each head's q and k, before they are rotated; v stays as it is. */
public final class HeadNorm {
  private HeadNorm() {}

  /**
   * @param qkv float [T, heads.columns]: queries, keys and values side by side
   * @param q f32 [head size], the weight for queries
   * @param k f32 [head size], for keys
   */
  public static Var apply(
      Graph g, Var qkv, Attention.Heads heads, Parameter q, Parameter k, float eps) {
    Tensor x = qkv.value();
    Tensor y = g.allocate(x.dtype(), x.shape());
    Kernels.rmsNorm(heads.q(y), heads.q(x), q.value(), eps);
    Kernels.rmsNorm(heads.k(y), heads.k(x), k.value(), eps);
    Kernels.copy(heads.v(y), heads.v(x));
    return g.record(
        y,
        qkv.needsGrad() || q.isTrainable(),
        out -> {
          Tensor gradY = out.grad();
          Tensor gradX = g.allocate(x.dtype(), x.shape());
          Kernels.rmsNormBackward(
              heads.q(gradX), q.grad(), heads.q(gradY), heads.q(x), q.value(), eps);
          Kernels.rmsNormBackward(
              heads.k(gradX), k.grad(), heads.k(gradY), heads.k(x), k.value(), eps);
          Kernels.copy(heads.v(gradX), heads.v(gradY));
          g.accumulate(qkv, gradX);
        });
  }
}
