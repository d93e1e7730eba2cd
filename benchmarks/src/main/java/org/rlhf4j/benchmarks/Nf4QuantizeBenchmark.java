package org.rlhf4j.benchmarks;

import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.Param;
import org.rlhf4j.tensor.DType;
import org.rlhf4j.tensor.Kernels;
import org.rlhf4j.tensor.Nf4;
import org.rlhf4j.tensor.Tensor;

/** A matrix of 16.8 million values to NF4, as when a checkpoint is read, and back. */
public class Nf4QuantizeBenchmark extends OpBenchmark {
  @Param({"BF16", "F32"})
  DType dtype;

  @Param({"false", "true"})
  boolean doubleQuantised;

  private Tensor w;
  private Nf4 four;

  @Override
  void setUp() {
    w = random(dtype, 4096, 4096);
    four = Nf4.allocate(scope, 4096, 4096, doubleQuantised);
    Kernels.nf4Quantize(four, w);
  }

  @Benchmark
  public void quantize(Work work) {
    repeat(
        () -> {
          Kernels.nf4Quantize(four, w);
          work.bytes += w.bytes() + four.bytes();
        });
  }

  @Benchmark
  public void dequantize(Work work) {
    repeat(
        () -> {
          Kernels.nf4Dequantize(w, four);
          work.bytes += w.bytes() + four.bytes();
        });
  }
}
