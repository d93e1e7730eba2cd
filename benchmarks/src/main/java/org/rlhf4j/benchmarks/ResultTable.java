package org.rlhf4j.benchmarks;

import java.util.Collection;
import java.util.Locale;
import java.util.Map;
import java.util.stream.Collectors;
import org.openjdk.jmh.infra.BenchmarkParams;
import org.openjdk.jmh.results.Result;
import org.openjdk.jmh.results.RunResult;

/** RESULTS.md. */
final class ResultTable {
  private ResultTable() {}

  static String of(Collection<RunResult> results, Machine machine) {
    BenchmarkParams first = results.iterator().next().getParams();
    StringBuilder text = new StringBuilder();
    text.append("# Benchmark results\n\n")
        .append(
            "Written by `benchmarks/run.sh`; run it again rather than edit this file. README.md says how to read it.\n\n")
        .append(machine)
        .append(" JMH ")
        .append(first.getJmhVersion())
        .append(".\n");
    if (machine.load() > machine.processors() / 2.0) {
      text.append(
          "\n**The machine was busy with other work: these times are too long, and do not compare.**\n");
    }
    text.append(
        "\n| benchmark | parameters | ms | least – most | GFLOP/s | GB/s |\n|---|---|---:|---:|---:|---:|\n");
    results.forEach(r -> text.append(line(r)));
    StringBuilder parts = new StringBuilder();
    results.forEach(r -> parts.append(parts(r)));
    if (!parts.isEmpty()) {
      text.append("\n| of | part | mean |\n|---|---|---:|\n").append(parts);
    }
    return text.toString();
  }

  private static String line(RunResult run) {
    Result<?> time = run.getPrimaryResult();
    Map<String, Result> counters = run.getSecondaryResults();
    return String.format(
        Locale.ROOT,
        "| %s | %s | %s | %s – %s | %s | %s |%n",
        name(run.getParams()),
        parameters(run.getParams()),
        number(time.getScore()),
        number(time.getStatistics().getMin()),
        number(time.getStatistics().getMax()),
        rate(counters.get("flops")),
        rate(counters.get("bytes")));
  }

  /**
   * A counter of operations is told as milliseconds for each; 10⁹ a second is 10⁻⁶ ms. Not counted:
   * infinitely long.
   */
  private static String rate(Result<?> millisEach) {
    return millisEach == null || Double.isInfinite(millisEach.getScore())
        ? ""
        : number(1e-6 / millisEach.getScore());
  }

  /** Counters of events are results of their own. */
  private static String parts(RunResult run) {
    Map<String, Result> counters = run.getSecondaryResults();
    return counters.entrySet().stream()
        .filter(e -> !e.getKey().equals("flops") && !e.getKey().equals("bytes"))
        .map(
            e ->
                String.format(
                    Locale.ROOT,
                    "| %s | %s | %s |%n",
                    name(run.getParams()),
                    e.getKey(),
                    number(e.getValue().getStatistics().getMean())))
        .collect(Collectors.joining());
  }

  private static String name(BenchmarkParams params) {
    return params.getBenchmark().replaceFirst("^.*\\.([^.]+)Benchmark\\.([^.]+)$", "$1.$2");
  }

  private static String parameters(BenchmarkParams params) {
    return params.getParamsKeys().stream()
        .map(key -> key + " " + params.getParam(key).toLowerCase(Locale.ROOT))
        .collect(Collectors.joining(", "));
  }

  /** Three digits, never an exponent. */
  private static String number(double value) {
    int digits = value == 0 ? 0 : Math.max(0, 2 - (int) Math.floor(Math.log10(Math.abs(value))));
    return String.format(Locale.ROOT, "%." + digits + "f", value);
  }
}
