package org.rlhf4j.tensor;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.charset.StandardCharsets;
import java.util.List;
import org.rlhf4j.bindings.c.rl_nf4;
import org.rlhf4j.bindings.c.rl_tensor;

/**
 * The arguments of one native call: a thread's own piece of native memory, reused by every call, so
 * that the hot path allocates nothing outside the Java heap.
 */
final class Frame {
  private static final long CAPACITY = 1 << 16;
  private static final ThreadLocal<Frame> FRAMES = ThreadLocal.withInitial(Frame::new);

  private final MemorySegment memory = Arena.ofAuto().allocate(CAPACITY, 64);
  private long used;

  private Frame() {}

  /** The calling thread's frame, empty. */
  static Frame begin() {
    Frame frame = FRAMES.get();
    frame.used = 0;
    return frame;
  }

  /** {@code bytes} of zeroed memory, 8-byte aligned, until the next call of this thread. */
  MemorySegment take(long bytes) {
    long size = (bytes + 7) & -8L;
    if (used + size > CAPACITY) {
      return Arena.ofAuto().allocate(size, 8); // a call with very many arguments
    }
    MemorySegment slice = memory.asSlice(used, size);
    slice.fill((byte) 0);
    used += size;
    return slice;
  }

  /** A {@code rl_tensor} that describes {@code t}, or NULL for null. */
  MemorySegment tensor(Tensor t) {
    if (t == null) {
      return MemorySegment.NULL;
    }
    MemorySegment s = take(rl_tensor.sizeof());
    write(s, t);
    return s;
  }

  static void write(MemorySegment s, Tensor t) {
    rl_tensor.buffer(s, t.buffer);
    rl_tensor.offset(s, t.offset);
    rl_tensor.dtype(s, t.dtype.code);
    rl_tensor.rank(s, t.shape.length);
    for (int i = 0; i < t.shape.length; i++) {
      rl_tensor.shape(s, i, t.shape[i]);
      rl_tensor.stride(s, i, t.stride(i));
    }
  }

  /** An array of {@code rl_nf4}. */
  MemorySegment nf4(List<Nf4> matrices) {
    MemorySegment array = take(matrices.size() * rl_nf4.sizeof());
    for (int i = 0; i < matrices.size(); i++) {
      Nf4 matrix = matrices.get(i);
      MemorySegment s = rl_nf4.asSlice(array, i);
      rl_nf4.rows(s, matrix.rows());
      rl_nf4.cols(s, matrix.cols());
      write(rl_nf4.codes(s), matrix.codes());
      write(rl_nf4.absmax(s), matrix.absmax());
      if (matrix.isDouble()) {
        write(rl_nf4.nestedCode(s), matrix.nestedCode());
        write(rl_nf4.nestedAbsmax(s), matrix.nestedAbsmax());
        write(rl_nf4.offset(s), matrix.offset());
      }
    }
    return array;
  }

  MemorySegment text(String text) {
    byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
    MemorySegment s = take(bytes.length + 1L);
    MemorySegment.copy(bytes, 0, s, ValueLayout.JAVA_BYTE, 0, bytes.length);
    return s;
  }
}
