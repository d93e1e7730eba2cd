package org.rlhf4j.benchmarks;

import java.util.stream.IntStream;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.Param;
import org.rlhf4j.tensor.DType;
import org.rlhf4j.tensor.Kernels;
import org.rlhf4j.tensor.Tensor;

/** One new token of each of two sequences against the cache of one layer. */
public class AttentionDecodeBenchmark extends OpBenchmark {
  @Param({"BF16", "F32"})
  DType dtype;

  @Param({"114", "512"})
  int length;

  /** Tokens of a page of the cache; 0: all in one. */
  @Param({"0", "64"})
  int page;

  private Tensor q;
  private Tensor o;
  private Tensor k;
  private Tensor v;
  private Tensor slots;
  private Tensor lengths;

  @Override
  void setUp() {
    q = random(dtype, 2, HEADS, HEAD_SIZE);
    o = scope.allocate(dtype, 2, HEADS, HEAD_SIZE);
    int tokens = page == 0 ? length : page;
    int pages = (length + tokens - 1) / tokens;
    k = random(dtype, 2 * pages, tokens, KV_HEADS, HEAD_SIZE);
    v = random(dtype, 2 * pages, tokens, KV_HEADS, HEAD_SIZE);
    slots = scope.of(IntStream.range(0, 2 * pages).toArray()).reshape(2, pages);
    lengths = scope.of(length, length);
  }

  @Benchmark
  public void decode(Work work) {
    repeat(
        () -> {
          Kernels.attentionDecode(
              o, q, k, v, slots, lengths, (float) (1 / Math.sqrt(HEAD_SIZE)), 0);
          work.flops += 2L * 4 * HEADS * HEAD_SIZE * length;
          work.bytes += 2 * bytes(k, v) * length / (k.size(0) * k.size(1));
        });
  }
}
