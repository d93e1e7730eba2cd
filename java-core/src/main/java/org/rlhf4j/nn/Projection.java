package org.rlhf4j.nn;

import java.util.ArrayList;
import java.util.List;
import org.rlhf4j.graph.Graph;
import org.rlhf4j.graph.Linear;
import org.rlhf4j.graph.Parameter;
import org.rlhf4j.graph.Var;
import org.rlhf4j.lora.LoraAdapter;
import org.rlhf4j.tensor.Dropout;
import org.rlhf4j.tensor.LoraSegment;
import org.rlhf4j.tensor.Tensor;
import org.rlhf4j.tensor.Weight;

/**
 * Linear layers that share their input (q, k and v; gate and up), as one product whose output holds
 * theirs side by side. Each part keeps its own name, and so its own adapters.
 *
 * @param parts names with their column ranges
 * @param gradW f32, where the gradient of the joined matrix goes; null: frozen
 * @param bias f32 [out], or null
 * @param index a number of its own within the model: separates the dropout streams
 */
record Projection(List<Part> parts, Weight weight, Tensor gradW, Parameter bias, int index) {
  /** Columns [from, to) of the output are the layer {@code name}. */
  record Part(String name, long from, long to) {}

  static Projection of(WeightStore store, LinearGroup group, int index) {
    List<Part> parts = new ArrayList<>();
    long from = 0;
    for (int i = 0; i < group.names().size(); i++) {
      parts.add(new Part(group.names().get(i), from, from + group.out()[i]));
      from += group.out()[i];
    }
    return new Projection(
        parts,
        store.matrix(group.weights()),
        store.matrixGrad(group.weights()),
        store.joinedVector(group.biases()),
        index);
  }

  /** x float [T,in] → [T,out]. */
  Var apply(Graph g, Var x, PackedBatch batch) {
    if (batch.segments().isEmpty()) {
      return Linear.apply(g, x, weight, gradW, bias, List.of());
    }
    List<Linear.Adapters> lora = new ArrayList<>();
    for (int i = 0; i < parts.size(); i++) {
      Part part = parts.get(i);
      List<LoraSegment> segments = new ArrayList<>();
      float p = 0;
      for (PackedBatch.Segment s : batch.segments()) {
        LoraAdapter adapter = s.adapter();
        if (adapter.hasModule(part.name())) {
          segments.add(adapter.segment(part.name(), s.begin(), s.end()));
          p = adapter.config().dropout();
        }
      }
      if (!segments.isEmpty()) {
        Dropout d = batch.dropout();
        Dropout own =
            d.p() == 0 || p == 0
                ? Dropout.NONE
                : new Dropout(p, d.seed(), d.stream() + 8L * index + i);
        lora.add(new Linear.Adapters(part.from(), part.to(), segments, own));
      }
    }
    return Linear.apply(g, x, weight, gradW, bias, lora);
  }
}
