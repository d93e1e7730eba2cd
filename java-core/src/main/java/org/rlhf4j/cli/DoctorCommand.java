package org.rlhf4j.cli;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import org.rlhf4j.bindings.Native;
import org.rlhf4j.tensor.Device;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;

@Command(
    name = "doctor",
    description =
        "The devices found, what the native library was built with, and a self-test of every kernel.",
    mixinStandardHelpOptions = true)
final class DoctorCommand implements Callable<Integer> {
  @Mixin private CommonOptions common;

  @Override
  public Integer call() {
    common.configureLog();
    Map<String, Object> document = new LinkedHashMap<>();
    document.put("java", System.getProperty("java.runtime.version"));
    document.put("native", Native.buildInfo());
    document.put("cuda", Version.cuda());
    List<Map<String, Object>> tests = new ArrayList<>();
    boolean fine = true;
    try (Device device = Devices.open(common.device, common.threads)) {
      document.put("device", device.name());
      document.put("describe", device.describe());
      if (!common.json) {
        Output.line("Java      " + document.get("java"));
        Output.line("native    " + document.get("native"));
        Output.line("cuda      " + document.get("cuda"));
        Output.line(device.name() + "       " + device.describe());
      }
      for (SelfTest.Result r : SelfTest.run(device)) {
        fine &= r.passed();
        tests.add(Map.of("op", r.op(), "passed", r.passed(), "detail", r.detail()));
        if (!common.json) {
          Output.line((r.passed() ? "ok        " : "FAILED    ") + r.op() + "  " + r.detail());
        }
      }
    }
    document.put("tests", tests);
    document.put("passed", fine);
    if (common.json) {
      Output.json(document);
    }
    return fine ? 0 : Main.FAILED;
  }
}
