package org.rlhf4j.tensor;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import org.rlhf4j.bindings.Native;
import org.rlhf4j.bindings.c.Rlhf4j;

/** A compute device. Closing it gives back everything that was allocated on it. */
public final class Device implements AutoCloseable {
  private final long handle;
  private final String name;
  private boolean open = true;

  private Device(long handle, String name) {
    this.handle = handle;
    this.name = name;
  }

  /** The best device of this machine, with all of its cores. */
  public static Device best() {
    return cpu(0);
  }

  /** The CPU. threads 0: all cores. */
  public static Device cpu(int threads) {
    return open("cpu", 0, threads);
  }

  /**
   * Opens {@code backend:index}.
   *
   * @throws org.rlhf4j.bindings.NativeException if there is no such backend or device
   */
  public static Device open(String backend, int index, int threads) {
    Native.load();
    Frame f = Frame.begin();
    MemorySegment out = f.take(Long.BYTES);
    Native.check(Rlhf4j.rl_device_open(out, f.text(backend), index, threads));
    return new Device(
        out.get(ValueLayout.JAVA_LONG, 0), backend.equals("cpu") ? "cpu" : backend + ":" + index);
  }

  long handle() {
    return handle;
  }

  public String name() {
    return name;
  }

  public boolean isOpen() {
    return open;
  }

  /** Processor, instruction set and threads, in one line. */
  public String describe() {
    Frame f = Frame.begin();
    MemorySegment text = f.take(512);
    Native.check(Rlhf4j.rl_device_describe(text, 512, handle));
    return text.getString(0);
  }

  /** A new owner of device memory. */
  public Scope scope() {
    return new Scope(this);
  }

  public void synchronize() {
    Native.check(Rlhf4j.rl_device_synchronize(handle));
  }

  /** Bytes of live buffers and weights, the highest they were, and what is held from the system. */
  public record Memory(long inUse, long peak, long reserved) {}

  public Memory memory() {
    Frame f = Frame.begin();
    MemorySegment inUse = f.take(8);
    MemorySegment peak = f.take(8);
    MemorySegment reserved = f.take(8);
    Native.check(Rlhf4j.rl_device_memory(inUse, peak, reserved, handle));
    return new Memory(
        inUse.get(ValueLayout.JAVA_LONG, 0),
        peak.get(ValueLayout.JAVA_LONG, 0),
        reserved.get(ValueLayout.JAVA_LONG, 0));
  }

  /** From now on {@link Memory#peak} counts from what is live now: to measure one step. */
  public void resetPeak() {
    Native.check(Rlhf4j.rl_device_reset_peak(handle));
  }

  /** Gives cached free memory back to the system. */
  public void trim() {
    Native.check(Rlhf4j.rl_device_trim(handle));
  }

  @Override
  public void close() {
    if (open) {
      open = false;
      Native.check(Rlhf4j.rl_device_close(handle));
    }
  }

  @Override
  public String toString() {
    return name;
  }
}
