package org.rlhf4j.nn;

import org.rlhf4j.graph.Graph;
import org.rlhf4j.graph.LayerNorm;
import org.rlhf4j.graph.Parameter;
import org.rlhf4j.graph.RmsNorm;
import org.rlhf4j.graph.Var;
import org.rlhf4j.tensor.DType;

/**
 * A norm of the residual stream or of what is added to it.
 *
 * @param bias of a layer norm; null for an RMS norm
 * @param dtype of what it gives: the activations', or the residual stream's f32
 */
record Norm(Parameter weight, Parameter bias, float eps, DType dtype) {
  /** The norm of that name; null for null. */
  static Norm of(WeightStore store, ModelConfig.Norm norm, String name, DType dtype) {
    if (name == null) {
      return null;
    }
    Parameter bias = norm.kind() == NormKind.LAYER ? store.vector(name + ".bias") : null;
    return new Norm(store.vector(name + ".weight"), bias, norm.eps(), dtype);
  }

  Var apply(Graph g, Var x) {
    return bias == null
        ? RmsNorm.apply(g, x, weight, eps, dtype)
        : LayerNorm.apply(g, x, weight, bias, eps, dtype);
  }
}
