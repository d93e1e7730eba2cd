package org.rlhf4j.testing;

import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.nio.file.Files;
import java.nio.file.Path;
import org.rlhf4j.tensor.Device;

/**
 * The device that the tests of kernels, models and trainers run on: the property {@code
 * rlhf4j.test.device}, which is {@code cpu}, {@code emulated}, {@code emulated-checked} or {@code
 * cuda}; cpu without it.
 */
public final class TestDevice {
  private TestDevice() {}

  public static String name() {
    String named = System.getProperty("rlhf4j.test.device", "");
    return named.isEmpty() ? "cpu" : named;
  }

  public static Device open() {
    return Device.named(name(), 2);
  }

  /**
   * A device other than the CPU, to be compared with it: the one that is named, else the emulated
   * GPU. The test is skipped where the folder of native libraries has none.
   */
  public static String other() {
    return name().equals("cpu") ? emulated("emulated") : name();
  }

  /** {@code kind} again; the test is skipped where the folder of native libraries lacks it. */
  public static String emulated(String kind) {
    String folder = System.getProperty("rlhf4j.native.dir", "");
    assumeTrue(
        Files.exists(Path.of(folder, System.mapLibraryName("rlhf4j_" + kind))),
        () ->
            "skipped: no emulated GPU in '"
                + folder
                + "'; native/build.sh --tests cuda builds it, and"
                + " -Drlhf4j.native.dir=build/cuda/lib names it");
    return kind;
  }
}
