package org.rlhf4j.cli;

import java.nio.file.Path;
import java.util.Map;
import java.util.concurrent.Callable;
import org.rlhf4j.report.HtmlReport;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Parameters;

@Command(
    name = "report",
    description = "Writes the HTML report of a run, finished or not, or of several stages in one.",
    mixinStandardHelpOptions = true)
final class ReportCommand implements Callable<Integer> {
  @Mixin private CommonOptions common;

  @Parameters(paramLabel = "DIR", description = "a run folder, or a folder of run folders")
  private Path folder;

  @Override
  public Integer call() {
    common.configureLog();
    Path report = HtmlReport.write(folder);
    if (common.json) {
      Output.json(Map.of("report", report.toString()));
    } else {
      Output.line(report.toString());
    }
    return 0;
  }
}
