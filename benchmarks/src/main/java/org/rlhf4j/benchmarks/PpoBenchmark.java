package org.rlhf4j.benchmarks;

import org.openjdk.jmh.annotations.Benchmark;
import org.rlhf4j.tensor.DType;
import org.rlhf4j.tensor.Kernels;
import org.rlhf4j.tensor.PpoLossConfig;
import org.rlhf4j.tensor.Tensor;

/** The arithmetic of PPO on 4096 response tokens of 64 sequences. */
public class PpoBenchmark extends OpBenchmark {
  private static final int SEQUENCES = 64;
  private static final int TOKENS = 4096;

  private final PpoLossConfig config = new PpoLossConfig(0.2f, 0.2f, 0.5f, 0, 0, 0, 1);
  private Tensor a;
  private Tensor b;
  private Tensor c;
  private Tensor d;
  private Tensor out;
  private Tensor out2;
  private Tensor stats;
  private Tensor cuSeqlens;

  @Override
  void setUp() {
    a = random(DType.F32, TOKENS);
    b = random(DType.F32, TOKENS);
    c = random(DType.F32, TOKENS);
    d = random(DType.F32, TOKENS);
    out = scope.allocate(DType.F32, TOKENS);
    out2 = scope.allocate(DType.F32, TOKENS);
    stats = scope.allocate(DType.F32, 16);
    int[] starts = new int[SEQUENCES + 1];
    for (int i = 0; i <= SEQUENCES; i++) {
      starts[i] = i * (TOKENS / SEQUENCES);
    }
    cuSeqlens = scope.of(starts);
  }

  @Benchmark
  public void gae(Work work) {
    repeat(
        () -> {
          Kernels.gae(out, out2, a, b, cuSeqlens, 1, 0.95f);
          work.bytes += bytes(out, out2, a, b);
        });
  }

  @Benchmark
  public void whiten(Work work) {
    repeat(
        () -> {
          Kernels.whiten(out, a, true);
          work.bytes += bytes(out, a);
        });
  }

  @Benchmark
  public void loss(Work work) {
    repeat(
        () -> {
          Kernels.ppoLoss(stats, out, out2, a, c, null, b, d, a, b, null, config);
          work.bytes += bytes(out, out2, a, b, c, d, a, b);
        });
  }
}
