package org.rlhf4j.tensor;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import org.rlhf4j.bindings.Native;
import org.rlhf4j.bindings.c.Rlhf4j;

/**
 * Ops that were noted once and are launched as one (a CUDA graph), with the same tensors each time:
 * what changes is written to them in between. For steps that are repeated often and whose ops are
 * short.
 */
public final class Recording implements AutoCloseable {
  private final long handle;
  private final Device device;
  private boolean open = true;

  private Recording(long handle, Device device) {
    this.handle = handle;
    this.device = device;
  }

  /**
   * Notes what {@code ops} calls on {@code device}, none of which happens yet. Tensors that it
   * allocates must be given back by its end; those that it uses otherwise must outlive the
   * recording. It may not wait for the device, nor copy from or to the host.
   *
   * @throws org.rlhf4j.bindings.NativeException if the device records nothing ({@link
   *     Device#canRecord}), or an op is wrong
   */
  public static Recording of(Device device, Runnable ops) {
    Native.check(Rlhf4j.rl_recording_begin(device.handle()));
    try {
      ops.run();
    } catch (Throwable t) {
      Rlhf4j.rl_recording_end(MemorySegment.NULL, device.handle());
      throw t;
    }
    Frame f = Frame.begin();
    MemorySegment out = f.take(Long.BYTES);
    Native.check(Rlhf4j.rl_recording_end(out, device.handle()));
    return new Recording(out.get(ValueLayout.JAVA_LONG, 0), device);
  }

  /** Queues all of the ops. */
  public void launch() {
    Native.check(Rlhf4j.rl_recording_launch(handle));
  }

  @Override
  public void close() {
    if (open && device.isOpen()) {
      Native.check(Rlhf4j.rl_recording_free(handle));
    }
    open = false;
  }
}
