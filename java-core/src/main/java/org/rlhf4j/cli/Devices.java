package org.rlhf4j.cli;

import java.nio.file.Files;
import java.nio.file.Path;
import org.rlhf4j.InputException;
import org.rlhf4j.bindings.NativeException;
import org.rlhf4j.report.Log;
import org.rlhf4j.tensor.Device;

/** Opens the device that {@code --device} names. */
final class Devices {
  /** There wherever NVIDIA's kernel module is loaded, in containers with the GPU passed in too. */
  private static final Path NVIDIA = Path.of("/dev/nvidiactl");

  private Devices() {}

  /**
   * @param name cpu, cuda, cuda:1, or auto: the first GPU, or the CPU where none can be used
   * @param threads 0: all cores
   * @throws InputException if there is no such device
   */
  static Device open(String name, int threads) {
    if (threads < 0 || threads > 1024) {
      throw new InputException("--threads: expected 0 (all cores) to 1024, found " + threads);
    }
    return name.equals("auto") ? best(threads) : named(name, threads);
  }

  private static Device best(int threads) {
    try {
      return Device.named("cuda", threads);
    } catch (NativeException e) {
      if (e.status() != NativeException.Status.UNSUPPORTED) {
        throw e;
      }
      if (Files.exists(NVIDIA)) { // nobody wants to find out by the speed
        Log.of(Devices.class).warn("the CPU computes, though there is a GPU: {}", e.getMessage());
      }
      return Device.cpu(threads);
    }
  }

  private static Device named(String name, int threads) {
    try {
      return Device.named(name, threads);
    } catch (IllegalArgumentException e) {
      throw new InputException(
          "--device: expected cpu, cuda, cuda:N or auto, found '" + name + "'");
    } catch (NativeException e) {
      if (e.status() == NativeException.Status.UNSUPPORTED
          || e.status() == NativeException.Status.INVALID_ARGUMENT) {
        throw new InputException(
            "--device " + name + ": " + e.getMessage() + "; or use --device cpu", e);
      }
      throw e;
    }
  }
}
