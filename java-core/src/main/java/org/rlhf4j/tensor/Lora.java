package org.rlhf4j.tensor;

import java.util.List;

/**
 * The adapters of columns [from, to) of y, {@code rl_lora}.
 *
 * @param h f32 [T,R], R at least the largest rank: what the forward keeps for the backward
 * @param segments runs of rows that ascend and do not overlap
 */
public record Lora(long from, long to, Tensor h, List<LoraSegment> segments, Dropout dropout) {}
