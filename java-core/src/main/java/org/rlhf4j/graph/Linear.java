package org.rlhf4j.graph;

import java.util.List;
import org.rlhf4j.tensor.DType;
import org.rlhf4j.tensor.Dropout;
import org.rlhf4j.tensor.Kernels;
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
  public record Lora(long from, long to, List<LoraSegment> segments, Dropout dropout) {
    int rank() {
      long rank = 0;
      for (LoraSegment s : segments) {
        rank = Math.max(rank, s.a().size(0));
      }
      return (int) rank;
    }

    boolean isTrainable() {
      return segments.stream().anyMatch(s -> s.gradA() != null);
    }
  }

  /**
   * @param x float [T,in]
   * @param gradW f32 [out,in], where W's gradient is added, or null if W is frozen
   * @param bias or null
   * @param lora may be empty
   */
  public static Var apply(Graph g, Var x, Weight w, Tensor gradW, Parameter bias, List<Lora> lora) {
    Tensor in = x.value();
    Tensor y = g.allocate(in.dtype(), in.size(0), w.out());
    Kernels.linear(y, in, w, bias == null ? null : bias.value(), false);
    Tensor[] h = new Tensor[lora.size()];
    boolean trainable = gradW != null || (bias != null && bias.isTrainable());
    for (int i = 0; i < h.length; i++) {
      Lora l = lora.get(i);
      h[i] = g.allocate(DType.F32, in.size(0), l.rank());
      Kernels.lora(y.columns(l.from(), l.to()), h[i], in, l.segments(), l.dropout());
      trainable |= l.isTrainable();
    }
    return g.record(
        y,
        x.needsGrad() || trainable,
        out -> {
          Tensor gradY = out.grad();
          Tensor gradX = null;
          if (x.needsGrad()) {
            gradX = g.allocate(in.dtype(), in.shape());
            Kernels.linearBackwardInput(gradX, gradY, w, false);
          }
          if (gradW != null) {
            Kernels.linearBackwardWeight(gradW, bias == null ? null : bias.grad(), gradY, in);
          }
          for (int i = 0; i < h.length; i++) {
            Lora l = lora.get(i);
            if (gradX != null || l.isTrainable()) {
              Kernels.loraBackward(
                  gradX, gradY.columns(l.from(), l.to()), in, h[i], l.segments(), l.dropout());
            }
          }
          if (gradX != null) {
            g.accumulate(x, gradX);
          }
        });
  }
}
