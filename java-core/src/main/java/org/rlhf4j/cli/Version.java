package org.rlhf4j.cli;

import java.util.Map;
import org.rlhf4j.bindings.Native;
import org.rlhf4j.bindings.NativeException;
import org.rlhf4j.tensor.Device;
import picocli.CommandLine.IVersionProvider;

/** Versions of the project, Java and the native library, and the devices. */
final class Version implements IVersionProvider {
  static final String PROJECT = "0.1.0";

  /** What config.yaml records of a run. */
  static Map<String, String> versions() {
    return Map.of(
        "rlhf4j",
        PROJECT,
        "java",
        System.getProperty("java.runtime.version"),
        "native",
        Native.buildInfo());
  }

  @Override
  public String[] getVersion() {
    try (Device cpu = Device.cpu(0)) {
      return new String[] {
        "rlhf4j " + PROJECT,
        "Java "
            + System.getProperty("java.runtime.version")
            + ", "
            + System.getProperty("java.vm.name"),
        Native.buildInfo(),
        "cpu: " + cpu.describe(),
        "cuda: " + cuda()
      };
    }
  }

  /** The first GPU, or why there is none. */
  static String cuda() {
    try (Device device = Device.named("cuda", 0)) {
      return device.describe();
    } catch (NativeException e) {
      return "not available: " + e.getMessage();
    }
  }
}
