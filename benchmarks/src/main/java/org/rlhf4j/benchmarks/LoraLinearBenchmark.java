package org.rlhf4j.benchmarks;

import java.util.List;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.TearDown;
import org.rlhf4j.tensor.DType;
import org.rlhf4j.tensor.Dropout;
import org.rlhf4j.tensor.Kernels;
import org.rlhf4j.tensor.Lora;
import org.rlhf4j.tensor.LoraSegment;
import org.rlhf4j.tensor.Tensor;
import org.rlhf4j.tensor.Weight;

/** The joined gate and up projections with the adapter of up: rank 8, one segment. */
public class LoraLinearBenchmark extends OpBenchmark {
  private static final int RANK = 8;

  @Param({"BF16", "F32"})
  DType dtype;

  @Param({"2", "114", "684"})
  int rows;

  private Weight weight;
  private Tensor x;
  private Tensor y;
  private Tensor gradX;
  private Tensor gradY;
  private List<Lora> loras;

  @Override
  void setUp() {
    weight = Weight.pack(random(dtype, 2 * INNER, HIDDEN));
    x = random(dtype, rows, HIDDEN);
    y = scope.zeros(dtype, rows, 2 * INNER);
    gradX = scope.zeros(dtype, rows, HIDDEN);
    gradY = random(dtype, rows, 2 * INNER);
    Tensor h = random(DType.F32, rows, RANK);
    Tensor a = random(DType.F32, RANK, HIDDEN);
    Tensor b = randomUpTo(0.01, DType.F32, INNER, RANK);
    Tensor gradA = scope.zeros(DType.F32, RANK, HIDDEN);
    Tensor gradB = scope.zeros(DType.F32, INNER, RANK);
    LoraSegment all = new LoraSegment(0, rows, 2, a, b, gradA, gradB);
    loras = List.of(new Lora(INNER, 2 * INNER, h, List.of(all), Dropout.NONE));
  }

  @TearDown
  public void freeWeight() {
    weight.close();
  }

  @Benchmark
  public void forward(Work work) {
    repeat(
        () -> {
          Kernels.loraLinear(y, x, weight, null, loras);
          work.flops += 2L * rows * (2 * INNER * HIDDEN + RANK * (HIDDEN + INNER));
          work.bytes += matrixBytes() + 4L * RANK * (HIDDEN + INNER) + bytes(x, y);
        });
  }

  @Benchmark
  public void backward(Work work) {
    repeat(
        () -> {
          Kernels.loraLinearBackward(gradX, gradY, x, weight, loras);
          work.flops += 2L * rows * (2 * INNER * HIDDEN + 2L * RANK * (HIDDEN + INNER));
          work.bytes += matrixBytes() + 12L * RANK * (HIDDEN + INNER) + bytes(x, gradX, gradY);
        });
  }

  private long matrixBytes() {
    return 2L * INNER * HIDDEN * dtype.bytes();
  }
}
