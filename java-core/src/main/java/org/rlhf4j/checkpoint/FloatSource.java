package org.rlhf4j.checkpoint;

/**
 * Gives any range of a tensor's elements as f32: a stored tensor, or one that still lies on a
 * device.
 */
@FunctionalInterface
public interface FloatSource {
  /** Writes elements {@code [first, first + count)}, row-major, to {@code into[offset …]}. */
  void read(long first, int count, float[] into, int offset);
}
