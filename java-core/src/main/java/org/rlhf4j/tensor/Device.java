package org.rlhf4j.tensor;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Optional;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.rlhf4j.bindings.Native;
import org.rlhf4j.bindings.NativeException;
import org.rlhf4j.bindings.c.Rlhf4j;

/** A compute device. Closing it gives back everything that was allocated on it. */
public final class Device implements AutoCloseable {
  private static final Pattern NAME = Pattern.compile("([a-z]+(?:-[a-z]+)*)(?::(\\d{1,3}))?");

  private final long handle;
  private final String name;
  private boolean open = true;

  private Device(long handle, String name) {
    this.handle = handle;
    this.name = name;
  }

  /**
   * The first GPU, where there is one that this build can use; else the CPU with all of its cores.
   */
  public static Device best() {
    try {
      return open("cuda", 0, 0);
    } catch (NativeException e) {
      if (e.status() == NativeException.Status.UNSUPPORTED) {
        return cpu(0);
      }
      throw e;
    }
  }

  /** The CPU. threads 0: all cores. */
  public static Device cpu(int threads) {
    return open("cpu", 0, threads);
  }

  /**
   * Opens the device that is called {@code name}: {@code cpu}, {@code cuda} (which is {@code
   * cuda:0}), {@code cuda:1}, …
   *
   * @param threads of the CPU; 0: all cores
   * @throws IllegalArgumentException if {@code name} is not of that form
   * @throws NativeException if there is no such device; its message says what to do
   */
  public static Device named(String name, int threads) {
    Matcher m = NAME.matcher(name);
    if (!m.matches()) {
      throw new IllegalArgumentException("expected cpu, cuda or cuda:N, found '" + name + "'");
    }
    return open(m.group(1), m.group(2) == null ? 0 : Integer.parseInt(m.group(2)), threads);
  }

  /**
   * Opens {@code backend:index}.
   *
   * @throws NativeException if there is no such backend or device
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

  /**
   * Bytes of live buffers and weights, the highest they were (on a GPU with what ops needed beside
   * them), and what is held from the system.
   */
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

  /** Bytes of a device's own memory: free now, for anyone, and all. */
  public record Capacity(long free, long total) {}

  /** Empty where the device works in the process's memory, as the CPU does. */
  public Optional<Capacity> capacity() {
    Frame f = Frame.begin();
    MemorySegment free = f.take(8);
    MemorySegment total = f.take(8);
    Native.check(Rlhf4j.rl_device_capacity(free, total, handle));
    long all = total.get(ValueLayout.JAVA_LONG, 0);
    return all == 0
        ? Optional.empty()
        : Optional.of(new Capacity(free.get(ValueLayout.JAVA_LONG, 0), all));
  }

  /** From now on {@link Memory#peak} counts from what is live now: to measure one step. */
  public void resetPeak() {
    Native.check(Rlhf4j.rl_device_reset_peak(handle));
  }

  /** Whether {@link Recording}s can be made: on a GPU, unless they were turned off. */
  public boolean canRecord() {
    Frame f = Frame.begin();
    MemorySegment can = f.take(4);
    Native.check(Rlhf4j.rl_device_can_record(can, handle));
    return can.get(ValueLayout.JAVA_INT, 0) != 0;
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
