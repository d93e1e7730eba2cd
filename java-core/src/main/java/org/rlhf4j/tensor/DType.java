package org.rlhf4j.tensor;

import org.rlhf4j.bindings.c.Rlhf4j;

/** Element types of device tensors. */
public enum DType {
  F32(Rlhf4j.RL_F32(), 4),
  BF16(Rlhf4j.RL_BF16(), 2),
  F16(Rlhf4j.RL_F16(), 2),
  I32(Rlhf4j.RL_I32(), 4),
  U8(Rlhf4j.RL_U8(), 1);

  final int code;
  private final int bytes;

  DType(int code, int bytes) {
    this.code = code;
    this.bytes = bytes;
  }

  /** Bytes of one element. */
  public int bytes() {
    return bytes;
  }
}
