package org.rlhf4j.graph;

import org.rlhf4j.tensor.Tensor;

/** A value in a {@link Graph}, and after the backward its gradient. */
public final class Var {
  private final Tensor value;
  private final boolean needsGrad;
  private Tensor grad;
  private boolean gradShared;

  Var(Tensor value, boolean needsGrad) {
    this.value = value;
    this.needsGrad = needsGrad;
  }

  public Tensor value() {
    return value;
  }

  /** Whether a gradient flows into it. */
  public boolean needsGrad() {
    return needsGrad;
  }

  /** The gradient, or null if none has arrived. */
  public Tensor grad() {
    return grad;
  }

  /** Whether {@link #grad} is also another variable's and must not be added to in place. */
  boolean gradShared() {
    return gradShared;
  }

  void setGrad(Tensor grad, boolean shared) {
    this.grad = grad;
    this.gradShared = shared;
  }
}
