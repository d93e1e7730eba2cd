package org.rlhf4j.benchmarks;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.LocalDate;
import java.util.Collection;
import java.util.List;
import java.util.Locale;
import java.util.TreeMap;
import org.openjdk.jmh.infra.BenchmarkParams;
import org.openjdk.jmh.results.Result;
import org.openjdk.jmh.results.RunResult;
import org.openjdk.jmh.results.format.ResultFormatFactory;
import org.openjdk.jmh.results.format.ResultFormatType;
import org.openjdk.jmh.runner.Runner;
import org.openjdk.jmh.runner.RunnerException;
import org.openjdk.jmh.runner.options.CommandLineOptionException;
import org.openjdk.jmh.runner.options.CommandLineOptions;
import org.openjdk.jmh.runner.options.OptionsBuilder;

/**
 * Runs the benchmarks with JMH's own arguments, and writes the results as JSON and as a table.
 * {@code run.sh} calls it.
 */
public final class Main {
  private Main() {}

  public static void main(String[] args)
      throws CommandLineOptionException, RunnerException, IOException {
    CommandLineOptions options = new CommandLineOptions(args);
    if (options.shouldHelp()) {
      options.showHelp();
      return;
    }
    Runner runner = new Runner(options);
    if (options.shouldList()) {
      runner.list();
      return;
    }
    // Forks are their own processes: they need the same native access and the same library.
    Collection<RunResult> results =
        new Runner(
                new OptionsBuilder()
                    .parent(options)
                    .jvmArgsPrepend(
                        "--enable-native-access=ALL-UNNAMED",
                        "-Drlhf4j.native.dir=" + System.getProperty("rlhf4j.native.dir", ""))
                    .build())
            .run();
    if (results.isEmpty()) {
      System.err.println("no benchmark matched");
      return;
    }
    Path json = Path.of(System.getProperty("benchmarks.json", "benchmarks/target/results.json"));
    Files.createDirectories(json.toAbsolutePath().getParent());
    ResultFormatFactory.getInstance(ResultFormatType.JSON, json.toString()).writeOut(results);
    Path table = Path.of(System.getProperty("benchmarks.table", "benchmarks/RESULTS.md"));
    Files.writeString(table, table(results));
    System.out.println(json + "\n" + table);
  }

  private static String table(Collection<RunResult> results) throws IOException {
    StringBuilder text = new StringBuilder();
    BenchmarkParams first = results.iterator().next().getParams();
    text.append("# Benchmark results\n\n")
        .append("Written by `benchmarks/run.sh`; run it again rather than edit this file.\n\n")
        .append(
            String.format(
                Locale.ROOT,
                "%s, %d processors, %s %s; %s %s, JMH %s; %s.%n%n",
                processor(),
                Runtime.getRuntime().availableProcessors(),
                System.getProperty("os.name"),
                System.getProperty("os.arch"),
                first.getVmName(),
                first.getVmVersion(),
                first.getJmhVersion(),
                LocalDate.now()))
        .append("| benchmark | parameters | mode | score | ± (99.9 %) | unit |\n")
        .append("|---|---|---|---:|---:|---|\n");
    TreeMap<String, String> lines = new TreeMap<>();
    for (RunResult result : results) {
      BenchmarkParams benchmark = result.getParams();
      String name = benchmark.getBenchmark().replaceFirst("^.*\\.([^.]+\\.[^.]+)$", "$1");
      List<String> parameters =
          benchmark.getParamsKeys().stream()
              .map(key -> key + "=" + benchmark.getParam(key))
              .toList();
      append(lines, name, parameters, benchmark, result.getPrimaryResult());
      result
          .getSecondaryResults()
          .forEach(
              (label, value) -> append(lines, name + ":" + label, parameters, benchmark, value));
    }
    lines.values().forEach(text::append);
    return text.toString();
  }

  private static void append(
      TreeMap<String, String> lines,
      String name,
      List<String> parameters,
      BenchmarkParams benchmark,
      Result<?> result) {
    String shown = String.join(", ", parameters);
    lines.put(
        name + " " + shown,
        String.format(
            Locale.ROOT,
            "| %s | %s | %s | %.4g | %s | %s |%n",
            name,
            shown,
            benchmark.getMode().shortLabel(),
            result.getScore(),
            Double.isNaN(result.getScoreError())
                ? ""
                : String.format(Locale.ROOT, "%.2g", result.getScoreError()),
            result.getScoreUnit()));
  }

  private static String processor() {
    try (var lines = Files.lines(Path.of("/proc/cpuinfo"))) {
      return lines
          .filter(line -> line.startsWith("model name"))
          .map(line -> line.substring(line.indexOf(':') + 2))
          .findFirst()
          .orElse("unknown processor");
    } catch (IOException e) {
      return "unknown processor";
    }
  }
}
