package org.rlhf4j.nn;

import org.rlhf4j.graph.Parameters;

/**
 * A parameter of a model.
 *
 * @param name as checkpoints name it
 * @param role what it begins with when a model is made anew
 * @param storedAs how checkpoints store it
 * @param shape as the kernels read it
 */
public record ModelParameter(String name, Role role, StoredAs storedAs, long... shape) {
  /** What a parameter is. */
  public enum Role {
    MATRIX,
    NORM,
    BIAS
  }

  Parameters.Spec spec() {
    return Parameters.Spec.of(name, shape);
  }
}
