package org.rlhf4j.benchmarks;

import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.Param;
import org.rlhf4j.tensor.AdamWConfig;
import org.rlhf4j.tensor.DType;
import org.rlhf4j.tensor.Kernels;
import org.rlhf4j.tensor.Tensor;

/** The optimizer on a LoRA adapter's parameters and on all of the model's. */
public class AdamWBenchmark extends OpBenchmark {
  @Param({"2400000", "135000000"})
  int parameters;

  private AdamWConfig config;
  private Tensor param;
  private Tensor m;
  private Tensor v;
  private Tensor grad;
  private Tensor norm;

  @Override
  void setUp() {
    config = new AdamWConfig(1e-5f, 0.9f, 0.999f, 1e-8f, 0.01f, 1, 100, parameters);
    param = filled(0.5);
    m = filled(0.001);
    v = filled(0.0001);
    grad = filled(0.01);
    norm = scope.of(10f);
  }

  private Tensor filled(double value) {
    Tensor t = scope.allocate(DType.F32, parameters);
    Kernels.fill(t, value);
    return t;
  }

  @Benchmark
  public void gradNorm(Work work) {
    repeat(
        () -> {
          Kernels.gradNorm(norm, grad);
          work.bytes += grad.bytes();
        });
  }

  @Benchmark
  public void step(Work work) {
    repeat(
        () -> {
          Kernels.adamw(param, null, m, v, grad, norm, config);
          work.bytes += bytes(grad, grad, param, param, m, m, v, v);
        });
  }
}
