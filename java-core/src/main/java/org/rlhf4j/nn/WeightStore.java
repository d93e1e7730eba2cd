package org.rlhf4j.nn;

import java.util.List;
import org.rlhf4j.graph.Parameter;
import org.rlhf4j.tensor.DType;
import org.rlhf4j.tensor.Tensor;
import org.rlhf4j.tensor.Weight;

/** Where a model's layers get their parameters from: frozen and packed, or trainable. */
interface WeightStore extends AutoCloseable {
  /** The dtype of activations between layers. */
  DType dtype();

  /**
   * The rows of all matrices [out_i, in] of a layer joined: f32 or {@link #dtype}, or quantised.
   */
  Weight matrix(List<String> names);

  /** The matrix of the language-model head [V,H]: never quantised. */
  Weight head(String name);

  /** Where the gradient of the joined matrix goes, f32, or null. */
  Tensor matrixGrad(List<String> names);

  /** A norm's weight, f32. */
  Parameter vector(String name);

  /** The vectors one after the other, f32, or null if {@code names} is empty. */
  Parameter joinedVector(List<String> names);

  /** The embedding table [V,H]. */
  Parameter table(String name);

  @Override
  void close();
}
