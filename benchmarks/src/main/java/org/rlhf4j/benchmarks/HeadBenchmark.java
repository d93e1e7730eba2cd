package org.rlhf4j.benchmarks;

import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.TearDown;
import org.rlhf4j.tensor.DType;
import org.rlhf4j.tensor.Kernels;
import org.rlhf4j.tensor.Tensor;
import org.rlhf4j.tensor.Weight;

/**
 * The language-model head, fused with what is asked of it, for the 64 tokens of a response; and the
 * logits of a decoding step.
 */
public class HeadBenchmark extends OpBenchmark {
  private static final int ROWS = 64;
  private static final long PRODUCT = 2L * ROWS * HIDDEN * VOCABULARY;

  @Param({"BF16", "F32"})
  DType dtype;

  private Weight weight;
  private Tensor x;
  private Tensor xRef;
  private Tensor gradX;
  private Tensor targets;
  private Tensor gradOut;
  private Tensor logp;
  private Tensor entropy;
  private Tensor lse;
  private Tensor kl;
  private Tensor klLse;
  private Tensor lseRef;
  private Tensor loss;
  private Tensor logits;

  @Override
  void setUp() {
    weight = Weight.pack(randomUpTo(0.05, dtype, VOCABULARY, HIDDEN));
    x = random(dtype, ROWS, HIDDEN);
    xRef = random(dtype, ROWS, HIDDEN);
    gradX = scope.allocate(dtype, ROWS, HIDDEN);
    targets = tokens(ROWS);
    gradOut = random(DType.F32, ROWS);
    logp = scope.allocate(DType.F32, ROWS);
    entropy = scope.allocate(DType.F32, ROWS);
    lse = scope.allocate(DType.F32, ROWS);
    kl = scope.allocate(DType.F32, ROWS);
    klLse = scope.allocate(DType.F32, ROWS);
    lseRef = scope.allocate(DType.F32, ROWS);
    loss = scope.allocate(DType.F32, 2);
    logits = scope.allocate(DType.F32, 2, VOCABULARY);
    // The backwards read what the forwards leave.
    Kernels.headLogprob(logp, entropy, lse, x, weight, targets, 1);
    Kernels.headFullKl(kl, klLse, lseRef, x, weight, xRef, weight, 1);
  }

  @Benchmark
  public void logprob(Work work) {
    repeat(
        () -> {
          Kernels.headLogprob(logp, entropy, lse, x, weight, targets, 1);
          work.flops += PRODUCT;
        });
  }

  @Benchmark
  public void logprobBackward(Work work) {
    repeat(
        () -> {
          Kernels.headLogprobBackward(gradX, null, gradOut, null, x, weight, targets, lse, null, 1);
          work.flops += 2 * PRODUCT;
        });
  }

  @Benchmark
  public void crossEntropy(Work work) {
    repeat(
        () -> {
          Kernels.headCrossEntropy(loss, gradX, null, x, weight, targets, 1f / ROWS);
          work.flops += 2 * PRODUCT;
        });
  }

  @Benchmark
  public void fullKl(Work work) {
    repeat(
        () -> {
          Kernels.headFullKl(kl, klLse, lseRef, x, weight, xRef, weight, 1);
          work.flops += 2 * PRODUCT;
        });
  }

  @Benchmark
  public void fullKlBackward(Work work) {
    repeat(
        () -> {
          Kernels.headFullKlBackward(
              gradX, null, gradOut, x, weight, xRef, weight, klLse, lseRef, kl, 1);
          work.flops += 3 * PRODUCT;
        });
  }

  /** Two rows. */
  @Benchmark
  public void logits(Work work) {
    repeat(
        () -> {
          Kernels.linear(logits, x.rows(0, 2), weight, null, false);
          work.flops += 4L * HIDDEN * VOCABULARY;
          work.bytes += (long) HIDDEN * VOCABULARY * dtype.bytes() + logits.bytes();
        });
  }

  @TearDown
  public void freeWeight() {
    weight.close();
  }
}
