package org.rlhf4j.benchmarks;

import java.util.List;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.TearDown;
import org.rlhf4j.tensor.DType;
import org.rlhf4j.tensor.Kernels;
import org.rlhf4j.tensor.Nf4;
import org.rlhf4j.tensor.Tensor;
import org.rlhf4j.tensor.Weight;

/**
 * Frozen matrices of bf16 against NF4 with its absmax in f32 (single) or quantised itself (double).
 * Matrices of 200 MB in bf16 in turn, at most 30: they come from memory, as a model's layers do.
 */
public class Nf4LinearBenchmark extends OpBenchmark {
  private static final long BYTES = 200L << 20;

  /** How the matrix is held. */
  public enum Storage {
    BF16,
    SINGLE,
    DOUBLE
  }

  @Param({"BF16", "SINGLE", "DOUBLE"})
  Storage storage;

  /** Output by input features. */
  @Param({"576x576", "1536x576", "4096x4096", "14336x4096"})
  String matrix;

  @Param({"1", "8", "64", "256"})
  int rows;

  private Weight[] weights;
  private Tensor x;
  private Tensor y;
  private Tensor w;
  private Nf4 four;
  private long weightBytes;
  private int next;

  @Override
  void setUp() {
    String[] sizes = matrix.split("x");
    long out = Long.parseLong(sizes[0]);
    long in = Long.parseLong(sizes[1]);
    w = random(DType.BF16, out, in);
    four = Nf4.allocate(scope, out, in, storage == Storage.DOUBLE);
    Kernels.nf4Quantize(four, w);
    weightBytes = storage == Storage.BF16 ? w.bytes() : four.bytes();
    weights = new Weight[(int) Math.clamp(BYTES / w.bytes(), 1, LAYERS)];
    for (int i = 0; i < weights.length; i++) {
      weights[i] =
          storage == Storage.BF16 ? Weight.pack(w) : Weight.packNf4(List.of(four), DType.BF16);
    }
    x = random(DType.BF16, rows, in);
    y = random(DType.BF16, rows, out);
  }

  @Benchmark
  public void forward(Work work) {
    repeat(
        () -> {
          Kernels.linear(y, x, weights[next++ % weights.length], null, false);
          count(work);
        });
  }

  @Benchmark
  public void backward(Work work) {
    repeat(
        () -> {
          Kernels.linearBackwardInput(x, y, weights[next++ % weights.length], false);
          count(work);
        });
  }

  private void count(Work work) {
    work.flops += 2 * rows * w.elements();
    work.bytes += weightBytes + bytes(x, y);
  }

  @TearDown
  public void freeWeights() {
    for (Weight weight : weights) {
      weight.close();
    }
  }
}
