package org.rlhf4j.cli;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.stream.Stream;
import org.rlhf4j.InputException;
import org.rlhf4j.demo.Demo;
import org.rlhf4j.demo.DemoResult;
import org.rlhf4j.report.Progress;
import org.rlhf4j.tensor.Device;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

@Command(
    name = "demo",
    description =
        "The whole pipeline on a small model that it trains itself: pre-training, SFT, reward model, PPO.",
    mixinStandardHelpOptions = true)
final class DemoCommand implements Callable<Integer> {
  @Mixin private CommonOptions common;

  @Option(
      names = "--out",
      paramLabel = "DIR",
      description = "a new folder (default: runs/demo, or runs/demo-2, …)")
  private Path out;

  @Option(names = "--quick", description = "a few steps of each stage")
  private boolean quick;

  @Override
  public Integer call() throws IOException {
    common.configureLog();
    Path folder = out == null ? free(Path.of("runs", "demo")) : out;
    if (Files.isRegularFile(folder) || (Files.isDirectory(folder) && !isEmpty(folder))) {
      throw InputException.at(
          folder, "expected a new or empty folder for --out, found one that is in use");
    }
    long began = System.nanoTime();
    DemoResult result;
    try (Device device = Devices.open(common.device, common.threads)) {
      say("device: " + device + ", " + device.describe());
      Demo.Options options = new Demo.Options(folder, quick, common.seed, Version.versions());
      Progress progress = new Progress(common.quiet);
      result = new Demo(options, device, progress, this::say).run();
    }
    double seconds = (System.nanoTime() - began) / 1e9;
    if (common.json) {
      Map<String, Object> document = result.document();
      document.put("seconds", seconds);
      document.put("out", folder.toString());
      Output.json(document);
    } else {
      result.lines().forEach(Output::line);
      Output.line("");
      Output.line(
          String.format(
              java.util.Locale.ROOT,
              "%.0f s; model, adapters and metrics are in %s",
              seconds,
              folder));
      Output.line("report: " + result.report());
      Output.line(
          "try:    ./rlhf4j generate --model "
              + folder
              + "/model --adapter "
              + folder
              + "/4-ppo/adapter --chat --prompt \"Tell me about tea.\"");
    }
    return 0;
  }

  private void say(String text) {
    if (!common.quiet) {
      System.err.println(text);
    }
  }

  private static boolean isEmpty(Path folder) throws IOException {
    try (Stream<Path> files = Files.list(folder)) {
      return files.findAny().isEmpty();
    }
  }

  private static Path free(Path wanted) {
    Path path = wanted;
    for (int n = 2; Files.exists(path); n++) {
      path = wanted.resolveSibling(wanted.getFileName() + "-" + n);
    }
    return path;
  }
}
