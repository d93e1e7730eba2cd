package org.rlhf4j.tensor;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;
import org.rlhf4j.bindings.Native;
import org.rlhf4j.bindings.c.Rlhf4j;

/**
 * A view of a device buffer: dtype and shape, dense in all but the first dimension, whose rows may
 * lie further apart. Making a view costs nothing and copies nothing. The buffer belongs to a {@link
 * Scope}; using a tensor after its scope was closed is an exception, never a crash.
 */
public final class Tensor {
  private final Device device;
  final long buffer;
  final long offset; // bytes
  final DType dtype;
  final long[] shape;
  private final long rowStride; // elements

  Tensor(Device device, long buffer, long offset, DType dtype, long rowStride, long... shape) {
    this.device = device;
    this.buffer = buffer;
    this.offset = offset;
    this.dtype = dtype;
    this.rowStride = rowStride;
    this.shape = shape;
  }

  public Device device() {
    return device;
  }

  public DType dtype() {
    return dtype;
  }

  public int rank() {
    return shape.length;
  }

  /** The size of dimension {@code i}. */
  public long size(int i) {
    return shape[i];
  }

  public long[] shape() {
    return shape.clone();
  }

  public long elements() {
    return elements(shape);
  }

  public long bytes() {
    return elements() * dtype.bytes();
  }

  /** Elements from one row (index of the first dimension) to the next. */
  long stride(int i) {
    return i == 0 ? rowStride : elements(Arrays.copyOfRange(shape, i + 1, shape.length));
  }

  public boolean isDense() {
    return shape.length == 0 || shape[0] <= 1 || rowStride == rowElements();
  }

  private long rowElements() {
    long n = 1;
    for (int i = 1; i < shape.length; i++) {
      n *= shape[i];
    }
    return n;
  }

  static long elements(long... shape) {
    long n = 1;
    for (long s : shape) {
      n = Math.multiplyExact(n, s);
    }
    return n;
  }

  /** The same elements in another shape. A strided tensor keeps its first dimension. */
  public Tensor reshape(long... newShape) {
    if (elements(newShape) != elements() || (!isDense() && newShape[0] != shape[0])) {
      throw new IllegalArgumentException(
          "cannot reshape " + this + " to " + Arrays.toString(newShape));
    }
    long stride =
        !isDense()
            ? rowStride
            : newShape.length == 0 ? 1 : elements(Arrays.copyOfRange(newShape, 1, newShape.length));
    return new Tensor(device, buffer, offset, dtype, stride, newShape);
  }

  /** Rows {@code from} (inclusive) to {@code to} (exclusive) of the first dimension. */
  public Tensor rows(long from, long to) {
    if (shape.length == 0 || from < 0 || to < from || to > shape[0]) {
      throw new IllegalArgumentException("rows " + from + " to " + to + " of " + this);
    }
    long[] s = shape.clone();
    s[0] = to - from;
    return new Tensor(
        device, buffer, offset + from * rowStride * dtype.bytes(), dtype, rowStride, s);
  }

  /**
   * Columns {@code from} to {@code to} of a matrix: the rows of the view lie as far apart as the
   * matrix's.
   */
  public Tensor columns(long from, long to) {
    if (shape.length != 2 || from < 0 || to < from || to > shape[1]) {
      throw new IllegalArgumentException("columns " + from + " to " + to + " of " + this);
    }
    return new Tensor(
        device, buffer, offset + from * dtype.bytes(), dtype, rowStride, shape[0], to - from);
  }

  // ---- host <-> device

  /** Fills the tensor (dense) from host memory of the same dtype and size. */
  public Tensor copyFrom(MemorySegment host) {
    Frame f = Frame.begin();
    Native.check(Rlhf4j.rl_copy_from_host(f.tensor(this), host, host.byteSize()));
    return this;
  }

  public Tensor copyFrom(float... values) {
    try (Arena arena = Arena.ofConfined()) {
      requireHost(DType.F32, values.length);
      return copyFrom(arena.allocateFrom(ValueLayout.JAVA_FLOAT, values));
    }
  }

  public Tensor copyFrom(int... values) {
    try (Arena arena = Arena.ofConfined()) {
      requireHost(DType.I32, values.length);
      return copyFrom(arena.allocateFrom(ValueLayout.JAVA_INT, values));
    }
  }

  private void requireHost(DType type, long count) {
    if (dtype != type || elements() != count) {
      throw new IllegalArgumentException(
          this + " cannot be filled with " + count + " values of " + type);
    }
  }

  /** The elements as floats; f32 tensors only, dense. Waits for the device. */
  public float[] toFloats() {
    if (dtype != DType.F32) {
      try (Scope scope = device.scope()) {
        Tensor wide = scope.allocate(DType.F32, shape);
        Kernels.copy(wide, this);
        return wide.toFloats();
      }
    }
    try (Arena arena = Arena.ofConfined()) {
      return toHost(arena).toArray(ValueLayout.JAVA_FLOAT);
    }
  }

  public int[] toInts() {
    if (dtype != DType.I32) {
      throw new IllegalArgumentException(this + " does not hold i32");
    }
    try (Arena arena = Arena.ofConfined()) {
      return toHost(arena).toArray(ValueLayout.JAVA_INT);
    }
  }

  /** The elements as little-endian bytes of the tensor's dtype; dense. Waits for the device. */
  public byte[] toBytes() {
    try (Arena arena = Arena.ofConfined()) {
      return toHost(arena).toArray(ValueLayout.JAVA_BYTE);
    }
  }

  private MemorySegment toHost(Arena arena) {
    MemorySegment host = arena.allocate(Math.max(bytes(), 1), 64);
    Frame f = Frame.begin();
    Native.check(Rlhf4j.rl_copy_to_host(host, f.tensor(this), bytes()));
    return host.asSlice(0, bytes());
  }

  /** The only element of an f32 tensor. */
  public float item() {
    if (elements() != 1) {
      throw new IllegalArgumentException(this + " has more than one element");
    }
    return toFloats()[0];
  }

  @Override
  public String toString() {
    return "Tensor " + dtype + Arrays.toString(shape);
  }
}
