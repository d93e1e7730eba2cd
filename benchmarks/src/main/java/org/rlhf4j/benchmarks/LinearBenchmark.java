package org.rlhf4j.benchmarks;

import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.TearDown;
import org.rlhf4j.tensor.DType;
import org.rlhf4j.tensor.Kernels;
import org.rlhf4j.tensor.Tensor;
import org.rlhf4j.tensor.Weight;

/**
 * Frozen, packed matrices: 1 and 2 rows are a step of decoding, 114 a sequence of training, 684 the
 * pass that scores a batch. Each call takes the next of 30 matrices, as a model's layers do: they
 * come from memory, not from the cache.
 */
public class LinearBenchmark extends OpBenchmark {
  @Param({"BF16", "F32"})
  DType dtype;

  @Param({"gate_up", "down"})
  String matrix;

  @Param({"1", "2", "16", "114", "684"})
  int rows;

  private final Weight[] weights = new Weight[LAYERS];
  private Tensor x;
  private Tensor y;
  private int next;

  @Override
  void setUp() {
    int in = matrix.equals("down") ? INNER : HIDDEN;
    int out = matrix.equals("down") ? HIDDEN : 2 * INNER;
    Tensor w = random(dtype, out, in);
    for (int i = 0; i < weights.length; i++) {
      weights[i] = Weight.pack(w);
    }
    x = random(dtype, rows, in);
    y = scope.allocate(dtype, rows, out);
  }

  @Benchmark
  public void forward(Work work) {
    repeat(
        () -> {
          Weight w = weights[next++ % LAYERS];
          Kernels.linear(y, x, w, null, false);
          work.flops += 2 * rows * w.in() * w.out();
          work.bytes += w.in() * w.out() * dtype.bytes() + bytes(x, y);
        });
  }

  @TearDown
  public void freeWeights() {
    for (Weight w : weights) {
      w.close();
    }
  }
}
