package org.rlhf4j.checkpoint;

import java.lang.foreign.MemorySegment;

/** Another tensor under another name. */
record RenamedTensor(String name, StoredTensor inner) implements StoredTensor {
  @Override
  public String storedType() {
    return inner.storedType();
  }

  @Override
  public long[] shape() {
    return inner.shape();
  }

  @Override
  public long elements() {
    return inner.elements();
  }

  @Override
  public long byteSize() {
    return inner.byteSize();
  }

  @Override
  public MemorySegment bytes() {
    return inner.bytes();
  }

  @Override
  public void unload() {
    inner.unload();
  }

  @Override
  public void read(long first, int count, float[] into, int offset) {
    inner.read(first, count, into, offset);
  }
}
