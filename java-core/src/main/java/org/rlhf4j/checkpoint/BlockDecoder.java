package org.rlhf4j.checkpoint;

/** Decodes consecutive blocks of one storage type to f32. Stateless. */
@FunctionalInterface
interface BlockDecoder {
  /**
   * {@code blocks} blocks from {@code src[at …]} to {@code dst[to …]}. The caller has checked all
   * ranges.
   */
  void decode(byte[] src, int at, int blocks, float[] dst, int to);
}
