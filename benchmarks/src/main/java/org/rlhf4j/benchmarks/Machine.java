package org.rlhf4j.benchmarks;

import java.lang.management.ManagementFactory;
import java.time.LocalDate;
import java.util.Collection;
import java.util.Locale;
import java.util.stream.Collectors;
import org.rlhf4j.tensor.Device;

/**
 * Where and when it was measured.
 *
 * @param device each device's own description
 * @param load the load average before the first benchmark; negative where the system does not tell
 */
record Machine(String device, int processors, double load, String javaVm, LocalDate date) {
  static Machine now(Collection<String> devices) {
    return new Machine(
        devices.stream().map(Machine::describe).collect(Collectors.joining("; ")),
        Runtime.getRuntime().availableProcessors(),
        ManagementFactory.getOperatingSystemMXBean().getSystemLoadAverage(),
        System.getProperty("java.vm.name") + " " + System.getProperty("java.vm.version"),
        LocalDate.now());
  }

  private static String describe(String name) {
    try (Device device = OpBenchmark.open(name)) {
      return device.describe();
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
