package org.rlhf4j.benchmarks;

import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.Param;
import org.rlhf4j.tensor.DType;
import org.rlhf4j.tensor.Kernels;
import org.rlhf4j.tensor.Tensor;
import org.rlhf4j.tensor.Weight;

/**
 * Gradients of the input (every update, through the frozen base) and of the matrix (training of all
 * parameters only).
 */
public class LinearBackwardBenchmark extends OpBenchmark {
  @Param({"BF16", "F32"})
  DType dtype;

  @Param({"114", "684"})
  int rows;

  private Weight weight;
  private Tensor x;
  private Tensor gradX;
  private Tensor gradY;
  private Tensor gradW;

  @Override
  void setUp() {
    weight = Weight.pack(random(dtype, 2 * INNER, HIDDEN));
    x = random(dtype, rows, HIDDEN);
    gradX = scope.allocate(dtype, rows, HIDDEN);
    gradY = random(dtype, rows, 2 * INNER);
    gradW = scope.zeros(DType.F32, 2 * INNER, HIDDEN);
  }

  @Benchmark
  public void input(Work work) {
    repeat(
        () -> {
          Kernels.linearBackwardInput(gradX, gradY, weight, false);
          work.flops += 2 * rows * weight.in() * weight.out();
        });
  }

  @Benchmark
  public void weight(Work work) {
    repeat(
        () -> {
          Kernels.linearBackwardWeight(gradW, null, gradY, x);
          work.flops += 2 * rows * weight.in() * weight.out();
        });
  }
}
