package org.rlhf4j.benchmarks;

import java.util.SplittableRandom;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.AuxCounters;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;
import org.openjdk.jmh.annotations.Warmup;
import org.rlhf4j.tensor.DType;
import org.rlhf4j.tensor.Device;
import org.rlhf4j.tensor.Kernels;
import org.rlhf4j.tensor.Tensor;

/**
 * What the benchmarks of ops share: a device, random tensors, and SmolLM2-135M's sizes, which all
 * of them use. A benchmark calls one method of {@link Kernels}, from Java, as training does.
 */
@State(Scope.Thread)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.MILLISECONDS)
@Fork(1)
@Warmup(iterations = 2, time = 150, timeUnit = TimeUnit.MILLISECONDS)
@Measurement(iterations = 4, time = 200, timeUnit = TimeUnit.MILLISECONDS)
public abstract class OpBenchmark {
  static final int LAYERS = 30;
  static final int HIDDEN = 576;
  static final int HEADS = 9;
  static final int KV_HEADS = 3;
  static final int HEAD_SIZE = 64;
  static final int INNER = 1536;
  static final int VOCABULARY = 49152;

  /** {@code -p device=cuda}. */
  @Param("cpu")
  String device;

  /**
   * Calls of the op before the device is waited for, all of them measured: on a GPU more than one
   * hide what a launch and the waiting cost, as in training. {@link Main} tells JMH to divide.
   */
  @Param("1")
  int calls;

  private Device opened;
  org.rlhf4j.tensor.Scope scope;
  private final SplittableRandom random = new SplittableRandom(1);

  /** The device of that name; {@code -Drlhf4j.threads} of the CPU, else all cores. */
  static Device open(String name) {
    return Device.named(name, Integer.getInteger("rlhf4j.threads", 0));
  }

  @Setup
  public void open() {
    opened = open(device);
    scope = opened.scope();
    setUp();
  }

  /** Makes the tensors. The device is open, the parameters are set. */
  abstract void setUp();

  @TearDown
  public void close() {
    scope.close();
    opened.close();
  }

  /**
   * What is measured: {@code op} as many times as {@link #calls} says, until the device is done.
   */
  final void repeat(Runnable op) {
    for (int i = 0; i < calls; i++) {
      op.run();
    }
    opened.synchronize();
  }

  /** Values from ±1, the same in every run. */
  Tensor random(DType dtype, long... shape) {
    return randomUpTo(1, dtype, shape);
  }

  /** Values from ±{@code bound}. */
  Tensor randomUpTo(double bound, DType dtype, long... shape) {
    Tensor y = scope.allocate(dtype, shape);
    float[] values = new float[(int) y.elements()];
    for (int i = 0; i < values.length; i++) {
      values[i] = (float) ((random.nextDouble() * 2 - 1) * bound);
    }
    if (dtype == DType.F32) {
      return y.copyFrom(values);
    }
    try (org.rlhf4j.tensor.Scope staging = opened.scope()) {
      Kernels.copy(y, staging.allocate(DType.F32, shape).copyFrom(values));
    }
    return y;
  }

  /** Ids of the vocabulary. */
  Tensor tokens(int count) {
    return scope.of(random.ints(count, 0, VOCABULARY).toArray());
  }

  /**
   * The arithmetic of a benchmark's calls, from which the table makes GFLOP/s and GB/s. Bytes are
   * those that must be moved, each input read once and each output written once.
   */
  @State(Scope.Thread)
  @AuxCounters(AuxCounters.Type.OPERATIONS)
  public static class Work {
    public long flops;
    public long bytes;
  }

  static long bytes(Tensor... tensors) {
    long sum = 0;
    for (Tensor t : tensors) {
      sum += t.bytes();
    }
    return sum;
  }
}
