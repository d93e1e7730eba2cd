package org.rlhf4j.benchmarks;

import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.Param;
import org.rlhf4j.tensor.DType;
import org.rlhf4j.tensor.Kernels;
import org.rlhf4j.tensor.Tensor;

/** Norms and what goes element by element, on the 684 rows of a scoring pass. */
public class ElementwiseBenchmark extends OpBenchmark {
  private static final int ROWS = 684;

  @Param({"BF16", "F32"})
  DType dtype;

  private Tensor x;
  private Tensor y;
  private Tensor gradX;
  private Tensor norm;
  private Tensor gate;
  private Tensor up;
  private Tensor inner;
  private Tensor gradGate;
  private Tensor gradUp;
  private Tensor q;
  private Tensor angles;
  private Tensor table;
  private Tensor ids;

  @Override
  void setUp() {
    x = random(dtype, ROWS, HIDDEN);
    y = scope.allocate(dtype, ROWS, HIDDEN);
    gradX = scope.zeros(dtype, ROWS, HIDDEN);
    norm = random(DType.F32, HIDDEN);
    Tensor gateUp = random(dtype, ROWS, 2 * INNER);
    gate = gateUp.columns(0, INNER);
    up = gateUp.columns(INNER, 2 * INNER);
    inner = scope.zeros(dtype, ROWS, INNER);
    Tensor gradGateUp = scope.allocate(dtype, ROWS, 2 * INNER);
    gradGate = gradGateUp.columns(0, INNER);
    gradUp = gradGateUp.columns(INNER, 2 * INNER);
    q = random(dtype, ROWS, HEADS, HEAD_SIZE);
    angles = random(DType.F32, ROWS, HEAD_SIZE);
    table = random(dtype, VOCABULARY, HIDDEN);
    ids = tokens(ROWS);
  }

  @Benchmark
  public void rmsNorm(Work work) {
    repeat(
        () -> {
          Kernels.rmsNorm(y, x, norm, 1e-5f);
          work.bytes += bytes(x, y);
        });
  }

  @Benchmark
  public void rmsNormBackward(Work work) {
    repeat(
        () -> {
          Kernels.rmsNormBackward(gradX, null, y, x, norm, 1e-5f);
          work.bytes += bytes(gradX, y, x);
        });
  }

  @Benchmark
  public void layerNorm(Work work) {
    repeat(
        () -> {
          Kernels.layerNorm(y, x, norm, norm, 1e-5f);
          work.bytes += bytes(x, y);
        });
  }

  @Benchmark
  public void layerNormBackward(Work work) {
    repeat(
        () -> {
          Kernels.layerNormBackward(gradX, null, null, y, x, norm, 1e-5f);
          work.bytes += bytes(gradX, y, x);
        });
  }

  @Benchmark
  public void geluTanh(Work work) {
    repeat(
        () -> {
          Kernels.geluTanh(inner, gate, null);
          work.bytes += bytes(inner, gate);
        });
  }

  @Benchmark
  public void geluTanhBackward(Work work) {
    repeat(
        () -> {
          Kernels.geluTanhBackward(gradGate, null, inner, gate, null);
          work.bytes += bytes(inner, gate, gradGate);
        });
  }

  @Benchmark
  public void swiglu(Work work) {
    repeat(
        () -> {
          Kernels.swiglu(inner, gate, up);
          work.bytes += bytes(inner, gate, up);
        });
  }

  @Benchmark
  public void swigluBackward(Work work) {
    repeat(
        () -> {
          Kernels.swigluBackward(gradGate, gradUp, inner, gate, up);
          work.bytes += bytes(inner, gate, up, gradGate, gradUp);
        });
  }

  @Benchmark
  public void rope(Work work) {
    repeat(
        () -> {
          Kernels.rope(q, q, angles, false);
          work.bytes += bytes(q, q, angles);
        });
  }

  @Benchmark
  public void add(Work work) {
    repeat(
        () -> {
          Kernels.add(y, x, gradX);
          work.bytes += bytes(y, x, gradX);
        });
  }

  @Benchmark
  public void embedding(Work work) {
    repeat(
        () -> {
          Kernels.embedding(y, table, ids);
          work.bytes += bytes(y, y);
        });
  }
}
