package org.rlhf4j.checkpoint;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Objects;
import java.util.function.LongUnaryOperator;

/**
 * Another tensor with its rows in another order: row r here is row {@code source(r)} there. A
 * vector has rows of 1.
 */
record RowPermutedTensor(String name, StoredTensor inner, LongUnaryOperator source)
    implements StoredTensor {
  /**
   * Undoes llama.cpp's permutation of query and key projections. Its converter stores row {@code
   * (head, i, half)}, so that rotary pairs are neighbours, where Hugging Face has row {@code (head,
   * half, i)} and rotates halves.
   *
   * @param headDim rows of one head; even
   */
  static StoredTensor undoRotaryPairs(String name, StoredTensor tensor, long headDim) {
    long half = headDim / 2;
    return new RowPermutedTensor(
        name,
        tensor,
        row -> {
          long inHead = row % headDim;
          return row - inHead + inHead % half * 2 + inHead / half;
        });
  }

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

  /**
   * A copy in the new order; the mapped bytes are in the old one. Blocks never cross rows, so rows
   * move whole.
   */
  @Override
  public MemorySegment bytes() {
    MemorySegment from = inner.bytes();
    MemorySegment to = Arena.ofAuto().allocate(from.byteSize(), 64);
    long rows = rows();
    long rowBytes = from.byteSize() / rows;
    for (long row = 0; row < rows; row++) {
      MemorySegment.copy(from, source.applyAsLong(row) * rowBytes, to, row * rowBytes, rowBytes);
    }
    return to.asReadOnly();
  }

  @Override
  public void unload() {
    inner.unload();
  }

  @Override
  public void read(long first, int count, float[] into, int offset) {
    Objects.checkFromIndexSize(first, count, elements());
    Objects.checkFromIndexSize(offset, count, into.length);
    long columns = elements() / rows();
    for (int done = 0; done < count; ) {
      long row = (first + done) / columns;
      long column = (first + done) % columns;
      int now = (int) Math.min(columns - column, count - done);
      inner.read(source.applyAsLong(row) * columns + column, now, into, offset + done);
      done += now;
    }
  }

  private long rows() {
    return inner.shape()[0];
  }
}
