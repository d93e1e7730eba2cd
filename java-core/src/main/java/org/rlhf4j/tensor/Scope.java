package org.rlhf4j.tensor;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;
import org.rlhf4j.bindings.Native;
import org.rlhf4j.bindings.c.Rlhf4j;

/**
 * Owns device buffers and gives them back together: everything that a step allocates is gone at the
 * step's end, whatever was thrown. Not for use by several threads at once.
 */
public final class Scope implements AutoCloseable {
  private final Device device;
  private long[] buffers = new long[64];
  private int count;
  private boolean closed;

  Scope(Device device) {
    this.device = device;
  }

  public Device device() {
    return device;
  }

  /** An uninitialised dense tensor. */
  public Tensor allocate(DType dtype, long... shape) {
    if (closed) {
      throw new IllegalStateException("the scope is closed");
    }
    long elements = Tensor.elements(shape);
    Frame f = Frame.begin();
    MemorySegment out = f.take(Long.BYTES);
    Native.check(
        Rlhf4j.rl_buffer_alloc(out, device.handle(), Math.multiplyExact(elements, dtype.bytes())));
    if (count == buffers.length) {
      buffers = Arrays.copyOf(buffers, count * 2);
    }
    long buffer = out.get(ValueLayout.JAVA_LONG, 0);
    buffers[count++] = buffer;
    long row = shape.length == 0 || shape[0] == 0 ? 1 : elements / shape[0];
    return new Tensor(device, buffer, 0, dtype, row, shape.clone());
  }

  /** A dense tensor of zeros. */
  public Tensor zeros(DType dtype, long... shape) {
    Tensor t = allocate(dtype, shape);
    Kernels.fill(t, 0);
    return t;
  }

  public Tensor of(float... values) {
    return allocate(DType.F32, values.length).copyFrom(values);
  }

  public Tensor of(int... values) {
    return allocate(DType.I32, values.length).copyFrom(values);
  }

  /** Gives one tensor's buffer back before the scope ends. Its views die with it. */
  public void free(Tensor tensor) {
    for (int i = count - 1; i >= 0; i--) {
      if (buffers[i] == tensor.buffer) {
        System.arraycopy(buffers, i + 1, buffers, i, --count - i);
        Native.check(Rlhf4j.rl_buffer_free(tensor.buffer));
        return;
      }
    }
    throw new IllegalArgumentException(tensor + " does not belong to this scope");
  }

  /** Hands the tensor's buffer to another scope, which it then lives as long as. */
  public Tensor move(Tensor tensor, Scope to) {
    for (int i = count - 1; i >= 0; i--) {
      if (buffers[i] == tensor.buffer) {
        System.arraycopy(buffers, i + 1, buffers, i, --count - i);
        if (to.count == to.buffers.length) {
          to.buffers = Arrays.copyOf(to.buffers, to.count * 2);
        }
        to.buffers[to.count++] = tensor.buffer;
        return tensor;
      }
    }
    throw new IllegalArgumentException(tensor + " does not belong to this scope");
  }

  @Override
  public void close() {
    if (closed) {
      return;
    }
    closed = true;
    if (device.isOpen()) {
      for (int i = count - 1; i >= 0; i--) {
        Native.check(Rlhf4j.rl_buffer_free(buffers[i]));
      }
    }
    count = 0;
  }
}
