package org.rlhf4j.graph;

import org.rlhf4j.tensor.Tensor;

/**
 * A model parameter.
 *
 * @param name as checkpoints name it
 * @param value f32; the optimizer's copy if it is trained
 * @param compute what the forward reads: {@code value} itself, or its bf16 copy
 * @param grad f32, accumulated into by the backward; null: frozen
 */
public record Parameter(String name, Tensor value, Tensor compute, Tensor grad) {
  public static Parameter frozen(String name, Tensor value) {
    return new Parameter(name, value, value, null);
  }

  public boolean isTrainable() {
    return grad != null;
  }
}
