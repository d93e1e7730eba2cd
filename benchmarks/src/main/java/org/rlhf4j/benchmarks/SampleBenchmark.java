package org.rlhf4j.benchmarks;

import org.openjdk.jmh.annotations.Benchmark;
import org.rlhf4j.tensor.DType;
import org.rlhf4j.tensor.Kernels;
import org.rlhf4j.tensor.SampleConfig;
import org.rlhf4j.tensor.Tensor;

/** The next token of two sequences from logits of the whole vocabulary. */
public class SampleBenchmark extends OpBenchmark {
  private Tensor logits;
  private Tensor ids;
  private Tensor streams;
  private Tensor steps;

  @Override
  void setUp() {
    logits = randomUpTo(10, DType.F32, 2, VOCABULARY);
    ids = scope.allocate(DType.I32, 2);
    streams = scope.of(0, 1);
    steps = scope.of(5, 5);
  }

  private void sample(Work work, SampleConfig config) {
    repeat(
        () -> {
          Kernels.sample(ids, null, logits, streams, steps, null, null, config);
          work.bytes += logits.bytes();
        });
  }

  @Benchmark
  public void greedy(Work work) {
    sample(work, new SampleConfig(0, 0, 1, 7));
  }

  @Benchmark
  public void plain(Work work) {
    sample(work, new SampleConfig(1, 0, 1, 7));
  }

  @Benchmark
  public void topK(Work work) {
    sample(work, new SampleConfig(1, 50, 1, 7));
  }

  @Benchmark
  public void topP(Work work) {
    sample(work, new SampleConfig(1, 0, 0.9f, 7));
  }
}
