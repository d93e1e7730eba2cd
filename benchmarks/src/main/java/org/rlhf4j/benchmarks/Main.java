package org.rlhf4j.benchmarks;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
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
    if (options.shouldList()) {
      new Runner(options).list();
      return;
    }
    Machine machine = Machine.now(options.getParameter("device").orElse(List.of("cpu")));
    int calls = calls(options.getParameter("calls").orElse(List.of("1")));
    Collection<RunResult> results =
        new Runner(
                new OptionsBuilder()
                    .parent(options)
                    .operationsPerInvocation(calls)
                    .jvmArgsPrepend(forkArguments())
                    .build())
            .run();
    if (results.isEmpty()) {
      System.err.println("no benchmark matched");
      System.exit(2);
    }
    Path json = Path.of(System.getProperty("benchmarks.json", "benchmarks/target/results.json"));
    Files.createDirectories(json.toAbsolutePath().getParent());
    ResultFormatFactory.getInstance(ResultFormatType.JSON, json.toString()).writeOut(results);
    Path table = Path.of(System.getProperty("benchmarks.table", "benchmarks/RESULTS.md"));
    Files.writeString(table, ResultTable.of(results, machine));
    System.out.println(json + "\n" + table);
  }

  /** A time is of one call, so JMH has to know of how many it measures. */
  private static int calls(Collection<String> given) throws CommandLineOptionException {
    if (given.size() != 1) {
      throw new CommandLineOptionException("-p calls: expected one number, found " + given);
    }
    return Integer.parseInt(given.iterator().next());
  }

  /** Forks are their own processes: they need what this one was told. */
  private static String[] forkArguments() {
    List<String> arguments =
        new ArrayList<>(List.of("--enable-native-access=ALL-UNNAMED", "-XX:+UseSerialGC"));
    System.getProperties().stringPropertyNames().stream()
        .filter(name -> name.startsWith("rlhf4j."))
        .map(name -> "-D" + name + "=" + System.getProperty(name))
        .forEach(arguments::add);
    return arguments.toArray(String[]::new);
  }
}
