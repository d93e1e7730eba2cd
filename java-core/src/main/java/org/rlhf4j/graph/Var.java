package org.rlhf4j.graph;

import org.rlhf4j.tensor.Tensor;

/** A value in a {@link Graph}, and after the backward its gradient. */
public final class Var {
  private final Tensor value;
  private final boolean needsGrad;
  private Gradient gradient;

  Var(Tensor value, boolean needsGrad) {
    this.value = value;
    this.needsGrad = needsGrad;
  }

  /** An op's result is gone after the graph's backward; what was given as a leaf stays. */
  public Tensor value() {
    return value;
  }

  /** Whether a gradient flows into it. */
  public boolean needsGrad() {
    return needsGrad;
  }

  /** The gradient, or null if none has arrived; that of an op's result is gone after its use. */
  public Tensor grad() {
    return gradient == null ? null : gradient.tensor;
  }

  Gradient gradient() {
    return gradient;
  }

  void setGradient(Gradient gradient) {
    this.gradient = gradient;
  }

  /** A gradient that one or more variables hold: a sum hands the same one to all its terms. */
  static final class Gradient {
    final Tensor tensor;

    /** Whether the graph made it, and so frees it after its last use. */
    final boolean owned;

    int users = 1;

    Gradient(Tensor tensor, boolean owned) {
      this.tensor = tensor;
      this.owned = owned;
    }

    /** Whether it may be added to in place. */
    boolean isWritable() {
      return owned && users == 1;
    }
  }
}
