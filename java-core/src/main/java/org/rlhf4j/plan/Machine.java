package org.rlhf4j.plan;

import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;

/** The memory of this process and of the machine, in bytes. */
final class Machine {
  private Machine() {}

  /** Resident memory of this process; where the system does not say, the Java heap's. */
  static long resident() {
    return read(Path.of("/proc/self/status"), "VmRSS:", Runtime.getRuntime().totalMemory());
  }

  /** What a new process could have without swapping, within the container's limit. */
  static long available() {
    var system =
        (com.sun.management.OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
    long free = read(Path.of("/proc/meminfo"), "MemAvailable:", system.getFreeMemorySize());
    return Math.min(free, system.getTotalMemorySize());
  }

  /** A line "NAME: 123 kB" of a file of the system. */
  private static long read(Path file, String name, long otherwise) {
    try {
      for (String line : Files.readAllLines(file)) {
        if (line.startsWith(name)) {
          return Long.parseLong(line.replaceAll("[^0-9]", "")) * 1024;
        }
      }
    } catch (IOException e) {
      return otherwise;
    }
    return otherwise;
  }
}
