package org.rlhf4j.checkpoint;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.util.Arrays;
import java.util.Objects;

/** A tensor whose bytes lie together in a mapped file. */
record MappedTensor(String name, StorageType type, long[] shape, long elements, MemorySegment bytes)
    implements StoredTensor {
  private static final ValueLayout.OfFloat FLOAT =
      ValueLayout.JAVA_FLOAT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

  /** Bytes decoded at a time: the copy stays in the first-level cache. */
  private static final int CHUNK_BYTES = 16 * 1024;

  @Override
  public String storedType() {
    return type.name();
  }

  @Override
  public long[] shape() {
    return shape.clone();
  }

  @Override
  public long byteSize() {
    return bytes.byteSize();
  }

  @Override
  public void unload() {
    bytes.unload();
  }

  @Override
  public void read(long first, int count, float[] into, int offset) {
    Objects.checkFromIndexSize(first, count, elements);
    Objects.checkFromIndexSize(offset, count, into.length);
    if (type == StorageType.F32) {
      MemorySegment.copy(bytes, FLOAT, first * 4, into, offset, count);
      return;
    }
    int size = type.blockElements;
    int head = (int) Math.min(count, (size - first % size) % size);
    if (head > 0) {
      partOfBlock(first, head, into, offset);
    }
    int whole = (count - head) / size;
    wholeBlocks((first + head) / size, whole, into, offset + head);
    int tail = count - head - whole * size;
    if (tail > 0) {
      partOfBlock(first + count - tail, tail, into, offset + count - tail);
    }
  }

  private void partOfBlock(long first, int count, float[] into, int offset) {
    float[] block = new float[type.blockElements];
    wholeBlocks(first / type.blockElements, 1, block, 0);
    System.arraycopy(block, (int) (first % type.blockElements), into, offset, count);
  }

  private void wholeBlocks(long block, int blocks, float[] into, int offset) {
    int perChunk = Math.min(blocks, CHUNK_BYTES / type.blockBytes);
    byte[] chunk = new byte[perChunk * type.blockBytes];
    while (blocks > 0) {
      int now = Math.min(blocks, perChunk);
      int length = now * type.blockBytes;
      MemorySegment.copy(bytes, ValueLayout.JAVA_BYTE, block * type.blockBytes, chunk, 0, length);
      type.decoder.decode(chunk, 0, now, into, offset);
      block += now;
      blocks -= now;
      offset += now * type.blockElements;
    }
  }

  @Override
  public String toString() {
    return name + " " + type + " " + Arrays.toString(shape);
  }
}
