package org.rlhf4j.benchmarks;

import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.Map;
import java.util.function.Function;
import java.util.stream.Collectors;
import org.rlhf4j.checkpoint.StoredTensor;
import org.rlhf4j.graph.Parameters;
import org.rlhf4j.nn.CausalLm;
import org.rlhf4j.nn.ModelConfig;

/**
 * A tensor that lies in no file: a vector of ones (the norms), or a matrix of values from ±0.035,
 * whose variance is the 0.02² that models begin with. An element depends on name and index alone.
 */
record RandomTensor(String name, long[] shape) implements StoredTensor {
  private static final float BOUND = 0.035f;

  /** All tensors of a model. */
  static Function<String, StoredTensor> source(ModelConfig config) {
    Map<String, StoredTensor> tensors =
        CausalLm.specs(config).stream()
            .collect(
                Collectors.toMap(
                    Parameters.Spec::name, s -> new RandomTensor(s.name(), s.shape())));
    return tensors::get;
  }

  @Override
  public String storedType() {
    return "random";
  }

  @Override
  public long elements() {
    return Arrays.stream(shape).reduce(1, Math::multiplyExact);
  }

  @Override
  public long byteSize() {
    return elements() * Float.BYTES;
  }

  @Override
  public MemorySegment bytes() {
    throw new UnsupportedOperationException(name + " is stored nowhere");
  }

  @Override
  public void read(long first, int count, float[] into, int offset) {
    if (shape.length == 1) {
      Arrays.fill(into, offset, offset + count, 1);
      return;
    }
    long seed = name.hashCode() * 0x9E3779B97F4A7C15L;
    for (int i = 0; i < count; i++) {
      // SplittableRandom's mixing function.
      long z = seed + (first + i) * 0x9E3779B97F4A7C15L;
      z = (z ^ (z >>> 30)) * 0xBF58476D1CE4E5B9L;
      z = (z ^ (z >>> 27)) * 0x94D049BB133111EBL;
      into[offset + i] = (int) (z >> 32) * (BOUND / 0x1p31f);
    }
  }
}
