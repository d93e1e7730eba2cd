package org.rlhf4j.cli;

import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.rlhf4j.InputException;
import org.rlhf4j.bindings.NativeException;
import org.rlhf4j.tensor.Device;

/** Opens the device that {@code --device} names. */
final class Devices {
  private static final Pattern NAME = Pattern.compile("([a-z]+(?:-[a-z]+)*)(?::(\\d{1,3}))?");

  private Devices() {}

  /**
   * @param name cpu, cuda, cuda:1, auto, …
   * @param threads 0: all cores
   * @throws InputException if there is no such device
   */
  static Device open(String name, int threads) {
    if (threads < 0 || threads > 1024) {
      throw new InputException("--threads: expected 0 (all cores) to 1024, found " + threads);
    }
    if (name.equals("auto")) {
      return Device.cpu(threads);
    }
    Matcher m = NAME.matcher(name);
    if (!m.matches()) {
      throw new InputException(
          "--device: expected cpu, cuda, cuda:N or auto, found '" + name + "'");
    }
    try {
      return Device.open(
          m.group(1), m.group(2) == null ? 0 : Integer.parseInt(m.group(2)), threads);
    } catch (NativeException e) {
      if (e.status() == NativeException.Status.UNSUPPORTED
          || e.status() == NativeException.Status.INVALID_ARGUMENT) {
        throw new InputException(
            "--device " + name + ": " + e.getMessage() + "; use --device cpu", e);
      }
      throw e;
    }
  }
}
