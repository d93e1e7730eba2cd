package org.rlhf4j.tensor;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.List;
import org.rlhf4j.bindings.Native;
import org.rlhf4j.bindings.c.Rlhf4j;

/**
 * The matrix of a linear layer [out, in], frozen in the backend's own layout or a view of a tensor
 * that changes.
 */
public final class Weight implements AutoCloseable {
  private final long handle;
  private final Device device;
  private final long out;
  private final long in;
  private final DType dtype;
  private boolean open = true;

  private Weight(long handle, Tensor w) {
    this(handle, w.device(), w.size(0), w.size(1), w.dtype());
  }

  private Weight(long handle, Device device, long out, long in, DType dtype) {
    this.handle = handle;
    this.device = device;
    this.out = out;
    this.in = in;
    this.dtype = dtype;
  }

  /**
   * Copies {@code w} [out, in] into the layout that products are fastest from; the tensor may be
   * freed afterwards.
   */
  public static Weight pack(Tensor w) {
    Frame f = Frame.begin();
    MemorySegment handle = f.take(Long.BYTES);
    Native.check(Rlhf4j.rl_weight_pack(handle, f.tensor(w), 0));
    return new Weight(handle.get(ValueLayout.JAVA_LONG, 0), w);
  }

  /**
   * Refers to {@code w} [out, in], whose values may change between calls. The tensor must outlive
   * it.
   */
  public static Weight view(Tensor w) {
    Frame f = Frame.begin();
    MemorySegment handle = f.take(Long.BYTES);
    Native.check(Rlhf4j.rl_weight_view(handle, f.tensor(w)));
    return new Weight(handle.get(ValueLayout.JAVA_LONG, 0), w);
  }

  /**
   * Joins the rows of {@code parts}, all [out, in] with one {@code in} and either all doubly
   * quantised or none, in a frozen weight that stays in four bits; their tensors may be freed
   * afterwards. {@code dtype} is that of the activations.
   */
  public static Weight packNf4(List<Nf4> parts, DType dtype) {
    if (parts.isEmpty()) {
      throw new IllegalArgumentException("a weight in NF4 needs at least one part");
    }
    Frame f = Frame.begin();
    MemorySegment handle = f.take(Long.BYTES);
    Native.check(Rlhf4j.rl_weight_pack_nf4(handle, f.nf4(parts), parts.size(), dtype.code));
    return new Weight(
        handle.get(ValueLayout.JAVA_LONG, 0),
        parts.getFirst().codes().device(),
        parts.stream().mapToLong(Nf4::rows).sum(),
        parts.getFirst().cols(),
        dtype);
  }

  long handle() {
    return handle;
  }

  public Device device() {
    return device;
  }

  /** Output features. */
  public long out() {
    return out;
  }

  /** Input features. */
  public long in() {
    return in;
  }

  /** The dtype of the activations it multiplies. */
  public DType dtype() {
    return dtype;
  }

  @Override
  public void close() {
    if (open && device.isOpen()) {
      Native.check(Rlhf4j.rl_weight_free(handle));
    }
    open = false;
  }
}
