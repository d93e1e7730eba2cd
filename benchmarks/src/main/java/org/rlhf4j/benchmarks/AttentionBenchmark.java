package org.rlhf4j.benchmarks;

import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.Param;
import org.rlhf4j.tensor.DType;
import org.rlhf4j.tensor.Kernels;
import org.rlhf4j.tensor.Tensor;

/**
 * Causal attention of two sequences, 9 query heads on 3 key heads of 64. Queries, keys and values
 * are columns of one tensor.
 */
public class AttentionBenchmark extends OpBenchmark {
  private static final int SEQUENCES = 2;

  @Param({"BF16", "F32"})
  DType dtype;

  @Param({"114", "512"})
  int length;

  private final float scale = (float) (1 / Math.sqrt(HEAD_SIZE));
  private Tensor qkv;
  private Tensor gradQkv;
  private Tensor o;
  private Tensor gradO;
  private Tensor lse;
  private Tensor cuSeqlens;
  private long pairs;

  @Override
  void setUp() {
    long tokens = (long) SEQUENCES * length;
    qkv = random(dtype, tokens, (HEADS + 2 * KV_HEADS) * HEAD_SIZE);
    gradQkv = scope.allocate(dtype, qkv.shape());
    o = scope.allocate(dtype, tokens, HEADS, HEAD_SIZE);
    gradO = random(dtype, tokens, HEADS, HEAD_SIZE);
    lse = scope.allocate(DType.F32, HEADS, tokens);
    cuSeqlens = scope.of(0, length, 2 * length);
    pairs = (long) SEQUENCES * HEADS * length * (length + 1) / 2;
    Kernels.attention(o, lse, q(qkv), k(qkv), v(qkv), cuSeqlens, scale, 0);
  }

  private static Tensor heads(Tensor x, int from, int count) {
    return x.columns((long) from * HEAD_SIZE, (long) (from + count) * HEAD_SIZE)
        .reshape(x.size(0), count, HEAD_SIZE);
  }

  private static Tensor q(Tensor x) {
    return heads(x, 0, HEADS);
  }

  private static Tensor k(Tensor x) {
    return heads(x, HEADS, KV_HEADS);
  }

  private static Tensor v(Tensor x) {
    return heads(x, HEADS + KV_HEADS, KV_HEADS);
  }

  /** Two products for each pair of a query and a key that it sees. */
  @Benchmark
  public void forward(Work work) {
    repeat(
        () -> {
          Kernels.attention(o, lse, q(qkv), k(qkv), v(qkv), cuSeqlens, scale, 0);
          work.flops += 4 * pairs * HEAD_SIZE;
        });
  }

  /** Five products for each pair: one of them is the forward's, done again. */
  @Benchmark
  public void backward(Work work) {
    repeat(
        () -> {
          Kernels.attentionBackward(
              q(gradQkv),
              k(gradQkv),
              v(gradQkv),
              gradO,
              o,
              lse,
              q(qkv),
              k(qkv),
              v(qkv),
              cuSeqlens,
              scale,
              0);
          work.flops += 10 * pairs * HEAD_SIZE;
        });
  }
}
