package org.rlhf4j.benchmarks;

import java.util.List;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.Param;
import org.rlhf4j.tensor.DType;
import org.rlhf4j.tensor.Dropout;
import org.rlhf4j.tensor.Kernels;
import org.rlhf4j.tensor.LoraSegment;
import org.rlhf4j.tensor.Tensor;

/** The adapter of the up projection: rank 8, one segment, columns of the joined gate_up product. */
public class LoraBenchmark extends OpBenchmark {
  private static final int RANK = 8;

  @Param({"BF16", "F32"})
  DType dtype;

  @Param({"2", "114", "684"})
  int rows;

  private Tensor x;
  private Tensor y;
  private Tensor h;
  private Tensor gradX;
  private Tensor gradY;
  private List<LoraSegment> segments;

  @Override
  void setUp() {
    x = random(dtype, rows, HIDDEN);
    y = scope.zeros(dtype, rows, 2 * INNER).columns(INNER, 2 * INNER);
    h = random(DType.F32, rows, RANK);
    gradX = scope.zeros(dtype, rows, HIDDEN);
    gradY = random(dtype, rows, 2 * INNER).columns(INNER, 2 * INNER);
    Tensor a = random(DType.F32, RANK, HIDDEN);
    Tensor b = randomUpTo(0.01, DType.F32, INNER, RANK);
    Tensor gradA = scope.zeros(DType.F32, RANK, HIDDEN);
    Tensor gradB = scope.zeros(DType.F32, INNER, RANK);
    segments = List.of(new LoraSegment(0, rows, 2, a, b, gradA, gradB));
  }

  @Benchmark
  public void forward(Work work) {
    repeat(
        () -> {
          Kernels.lora(y, h, x, segments, Dropout.NONE);
          work.flops += 2L * rows * RANK * (HIDDEN + INNER);
          work.bytes += 4L * RANK * (HIDDEN + INNER) + bytes(x, y, y);
        });
  }

  @Benchmark
  public void backward(Work work) {
    repeat(
        () -> {
          Kernels.loraBackward(gradX, gradY, x, h, segments, Dropout.NONE);
          work.flops += 4L * rows * RANK * (HIDDEN + INNER);
          work.bytes += 12L * RANK * (HIDDEN + INNER) + bytes(x, gradX, gradX, gradY);
        });
  }
}
