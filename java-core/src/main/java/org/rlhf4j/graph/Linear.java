package org.rlhf4j.graph;

import java.util.ArrayList;
import java.util.List;
import org.rlhf4j.tensor.DType;
import org.rlhf4j.tensor.Dropout;
import org.rlhf4j.tensor.Kernels;
import org.rlhf4j.tensor.Lora;
import org.rlhf4j.tensor.LoraSegment;
import org.rlhf4j.tensor.Tensor;
import org.rlhf4j.tensor.Weight;

/**
 * y = x Wᵀ + bias, plus LoRA by segments on column ranges of y: several projections of one input
 * (q, k, v) are one product, and each keeps adapters of its own.
 */
public final class Linear {
  private Linear() {}

  /** The adapters of columns [from, to) of y. */
  public record Adapters(long from, long to, List<LoraSegment> segments, Dropout dropout) {
    private Lora on(Graph g, Tensor x) {
      long rank = 1;
      for (LoraSegment s : segments) {
        rank = Math.max(rank, s.a().size(0));
      }
      return new Lora(from, to, g.allocate(DType.F32, x.size(0), rank), segments, dropout);
    }

    private boolean isTrainable() {
      return segments.stream().anyMatch(s -> s.gradA() != null);
    }
  }

  /**
   * @param x float [T,in]
   * @param gradW f32 [out,in], where W's gradient is added, or null if W is frozen
   * @param bias or null
   * @param adapters may be empty; column ranges ascend
   */
  public static Var apply(
      Graph g, Var x, Weight w, Tensor gradW, Parameter bias, List<Adapters> adapters) {
    Tensor in = x.value();
    Tensor y = g.allocate(in.dtype(), in.size(0), w.out());
    List<Lora> loras = new ArrayList<>();
    boolean adapted = false;
    for (Adapters a : adapters) {
      loras.add(a.on(g, in));
      adapted |= a.isTrainable();
    }
    Kernels.loraLinear(y, in, w, bias == null ? null : bias.value(), loras);
    boolean trainable = adapted || gradW != null || (bias != null && bias.isTrainable());
    boolean hasGradient = adapted || x.needsGrad();
    return g.record(
        y,
        x.needsGrad() || trainable,
        out -> {
          Tensor gradY = out.grad();
          Tensor gradX = x.needsGrad() ? g.allocate(in.dtype(), in.shape()) : null;
          if (hasGradient) {
            Kernels.loraLinearBackward(gradX, gradY, in, w, loras);
          }
          if (gradW != null) {
            Kernels.linearBackwardWeight(gradW, bias == null ? null : bias.grad(), gradY, in);
          }
          if (gradX != null) {
            g.accumulate(x, gradX);
          }
        });
  }
}
