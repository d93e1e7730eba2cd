package org.rlhf4j.nn;

import java.util.ArrayList;
import java.util.List;
import org.rlhf4j.graph.Attention;
import org.rlhf4j.tensor.DType;
import org.rlhf4j.tensor.Device;
import org.rlhf4j.tensor.Kernels;
import org.rlhf4j.tensor.Scope;
import org.rlhf4j.tensor.Tensor;

/** Keys and values of {@code slots} sequences of up to {@code length} tokens, for every layer. */
public final class KvCache implements AutoCloseable {
  private final Scope scope;
  private final List<Tensor> k = new ArrayList<>();
  private final List<Tensor> v = new ArrayList<>();
  private final int slots;
  private final int length;

  public KvCache(Device device, ModelConfig config, DType dtype, int slots, int length) {
    config.requirePositions(length);
    this.slots = slots;
    this.length = length;
    scope = device.scope();
    for (int i = 0; i < config.layers(); i++) {
      k.add(scope.allocate(dtype, slots, length, config.kvHeads(), config.headSize()));
      v.add(scope.allocate(dtype, slots, length, config.kvHeads(), config.headSize()));
    }
  }

  public int slots() {
    return slots;
  }

  public int length() {
    return length;
  }

  /** Layer {@code i}'s cache for rows that go to {@code slots} (i32 [T]). */
  Attention.Cache layer(int i, Tensor slots) {
    return new Attention.Cache(k.get(i), v.get(i), slots);
  }

  /**
   * Copies the first {@code tokens} tokens of one slot to another: a prompt shared by several
   * samples.
   */
  public void copySlot(int from, int to, int tokens) {
    for (int i = 0; i < k.size(); i++) {
      copy(k.get(i), from, to, tokens);
      copy(v.get(i), from, to, tokens);
    }
  }

  private static void copy(Tensor cache, int from, int to, int tokens) {
    long row = cache.size(2) * cache.size(3);
    Tensor flat = cache.reshape(cache.size(0), cache.size(1) * row);
    Kernels.copy(
        flat.rows(to, to + 1).columns(0, tokens * row),
        flat.rows(from, from + 1).columns(0, tokens * row));
  }

  @Override
  public void close() {
    scope.close();
  }
}
