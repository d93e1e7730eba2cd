package org.rlhf4j.nn;

import org.rlhf4j.graph.GeluTanh;
import org.rlhf4j.graph.Graph;
import org.rlhf4j.graph.Swiglu;
import org.rlhf4j.graph.Var;

/** What stands between the two halves of an MLP. */
public enum Activation {
  /** silu(gate) · up. */
  SWIGLU(true),
  /** gelu(gate) · up, with the tanh approximation. */
  GEGLU(true),
  /** gelu(x), with the tanh approximation. */
  GELU(false);

  private final boolean gated;

  Activation(boolean gated) {
    this.gated = gated;
  }

  /** Whether its input is a gate and what it gates, side by side. */
  public boolean isGated() {
    return gated;
  }

  Var apply(Graph g, Var x) {
    return switch (this) {
      case SWIGLU -> Swiglu.apply(g, x);
      case GEGLU -> GeluTanh.gated(g, x);
      case GELU -> GeluTanh.apply(g, x);
    };
  }
}
