package org.rlhf4j.benchmarks;

import java.lang.management.ManagementFactory;
import java.time.LocalDate;
import java.util.Locale;
import org.rlhf4j.tensor.Device;

/**
 * Where and when it was measured.
 *
 * @param device processor, instruction set and threads
 * @param load the load average before the first benchmark; negative where the system does not tell
 */
record Machine(String device, int processors, double load, String javaVm, LocalDate date) {
  static Machine now() {
    try (Device device = OpBenchmark.openDevice()) {
      return new Machine(
          device.describe(),
          Runtime.getRuntime().availableProcessors(),
          ManagementFactory.getOperatingSystemMXBean().getSystemLoadAverage(),
          System.getProperty("java.vm.name") + " " + System.getProperty("java.vm.version"),
          LocalDate.now());
    }
  }

  @Override
  public String toString() {
    return String.format(
        Locale.ROOT,
        "%s; %d processors, load average %.1f before the first benchmark; %s %s; %s; %s.",
        device,
        processors,
        load,
        System.getProperty("os.name"),
        System.getProperty("os.arch"),
        javaVm,
        date);
  }
}
