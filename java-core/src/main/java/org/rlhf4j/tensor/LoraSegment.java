package org.rlhf4j.tensor;

/**
 * Rows [begin, end) that go through one adapter.
 *
 * @param a f32 [r, in]
 * @param b f32 [out, r]
 * @param scale alpha / r
 * @param gradA f32 [r, in] accumulated into by the backward, or null if the adapter is frozen
 * @param gradB f32 [out, r], or null
 */
public record LoraSegment(
    long begin, long end, float scale, Tensor a, Tensor b, Tensor gradA, Tensor gradB) {}
