package org.rlhf4j.report;

import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Properties;
import org.rlhf4j.InputException;
import org.rlhf4j.config.Command;

/**
 * report.html: one file with all it needs, for one run or for the stages of several. It opens no
 * connection, and its policy forbids the browser to.
 */
public final class HtmlReport {
  private static final String UPLOT = "META-INF/resources/webjars/uplot/";
  private static final String UPLOT_PROPERTIES =
      "META-INF/maven/org.webjars.npm/uplot/pom.properties";

  private final StringBuilder page = new StringBuilder(1 << 18);
  private final List<RunHistory> runs;

  private HtmlReport(List<RunHistory> runs) {
    this.runs = runs;
  }

  /**
   * Writes the report of {@code folder}, a run folder or a folder of run folders, to report.html in
   * it.
   *
   * @return the file
   * @throws InputException if there is no run
   */
  public static Path write(Path folder) {
    return write(RunHistory.runsIn(folder), folder.resolve("report.html"));
  }

  /**
   * Writes one report of several run folders, in this order.
   *
   * @return {@code file}
   * @throws InputException if one is no run folder
   */
  public static Path write(List<Path> runFolders, Path file) {
    byte[] html =
        html(runFolders.stream().map(RunHistory::read).toList()).getBytes(StandardCharsets.UTF_8);
    try {
      Path fresh = file.resolveSibling("." + file.getFileName() + ".new");
      Files.write(fresh, html);
      return Files.move(fresh, file, StandardCopyOption.REPLACE_EXISTING);
    } catch (IOException e) {
      throw new UncheckedIOException(file + ": not written: " + e.getMessage(), e);
    }
  }

  static String html(List<RunHistory> runs) {
    HtmlReport report = new HtmlReport(runs);
    report.head();
    for (int i = 0; i < runs.size(); i++) {
      report.run(i, runs.get(i));
    }
    report.foot();
    return report.page.toString();
  }

  private void head() {
    String title = runs.size() == 1 ? runs.get(0).name() : "rlhf4j: " + runs.size() + " stages";
    add("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    add(
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src"
            + " 'unsafe-inline'; script-src 'unsafe-inline'\">\n");
    add("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    add("<title>" + Html.text(title) + "</title>\n");
    add("<style>\n" + uplot("dist/uPlot.min.css") + "\n" + own("report.css") + "</style>\n");
    add("</head>\n<body>\n<h1>" + Html.text(title) + "</h1>\n");
    if (runs.size() > 1) {
      add("<nav>");
      for (int i = 0; i < runs.size(); i++) {
        add("<a href=\"#run" + i + "\">" + Html.text(runs.get(i).name()) + "</a> ");
      }
      add("</nav>\n");
    }
  }

  private void run(int index, RunHistory run) {
    Command command = run.settings().command();
    add("<section class=\"run\" id=\"run" + index + "\">\n");
    if (runs.size() > 1) {
      add("<h2>" + Html.text(run.name()) + "</h2>\n");
    }
    add("<p class=\"lead\">" + Html.text(summary(run)) + "</p>\n");
    health(run);
    if (run.metrics().isEmpty()) {
      add("<p>No step has been recorded yet.</p>\n");
    } else {
      charts(index, run);
      table(run);
    }
    samples(run);
    if (command == Command.PPO) {
      rollouts(run);
    }
    add(
        "<details><summary>Configuration</summary><pre>"
            + Html.text(run.configText())
            + "</pre></details>\n");
    add("</section>\n");
  }

  private static String summary(RunHistory run) {
    String stage =
        switch (run.settings().command()) {
          case SFT -> "Supervised fine-tuning";
          case REWARD -> "Reward model";
          case PPO -> "PPO";
        };
    if (run.metrics().isEmpty()) {
      return stage;
    }
    Object step = run.metrics().getLast().get(JsonLines.STEP);
    String state = Progress.status(run.metrics().getLast());
    return stage
        + ", "
        + step
        + (run.settings().command() == Command.PPO ? " batches" : " steps")
        + (state.isEmpty() ? "" : "; at the end: " + state);
  }

  private void health(RunHistory run) {
    add("<h3>Health</h3>\n");
    List<String> told = new ArrayList<>();
    HealthChecks.of(run.settings()).forEach(f -> told.add("configuration: " + f.text()));
    HealthMonitor monitor = new HealthMonitor(run.settings());
    for (Map<String, Object> line : run.metrics()) {
      for (Finding finding : monitor.observe(line)) {
        told.add("step " + line.get(JsonLines.STEP) + ": " + finding.text());
      }
    }
    if (told.isEmpty()) {
      add("<p class=\"good\">Nothing unusual was found.</p>\n");
      return;
    }
    add("<ul class=\"bad\">\n");
    told.forEach(t -> add("<li>" + Html.text(t) + "</li>\n"));
    add("</ul>\n");
  }

  private void charts(int index, RunHistory run) {
    Map<String, List<List<Double>>> columns = ChartData.columns(run.metrics());
    add("<h3>Metrics</h3>\n<div class=\"charts\" data-run=\"" + index + "\">\n");
    for (String name : columns.keySet()) {
      add(
          "<figure data-metric=\""
              + Html.text(name)
              + "\"><figcaption><b>"
              + Html.text(name)
              + "</b> "
              + Html.text(MetricGuide.meaning(name))
              + "</figcaption><div class=\"chart\"></div></figure>\n");
    }
    add("</div>\n");
    if (run.metrics().size() > ChartData.POINTS) {
      add("<p class=\"note\">Each point of a curve is the mean of neighbouring steps.</p>\n");
    }
    add(
        "<script type=\"application/json\" id=\"data"
            + index
            + "\">"
            + Html.json(columns)
            + "</script>\n");
  }

  private void table(RunHistory run) {
    add(
        "<details><summary>Numbers</summary><table><thead><tr><th>Metric<th>First<th>Last<th>Mean"
            + " of last 10<th>Lowest<th>Highest</tr></thead><tbody>\n");
    for (String name : ChartData.names(run.metrics())) {
      Series s = Series.of(run.metrics(), name);
      if (s.size() == 0) {
        continue;
      }
      add("<tr><th>" + Html.text(name));
      for (double value :
          new double[] {
            s.first(1).mean(),
            s.last(1).mean(),
            s.last(Math.min(10, s.size())).mean(),
            s.min(),
            s.max()
          }) {
        add("<td>" + number(value));
      }
      add("</tr>\n");
    }
    add("</tbody></table></details>\n");
  }

  private void samples(RunHistory run) {
    Map<String, Map<String, Map<String, Object>>> byQuery = new LinkedHashMap<>();
    for (Map<String, Object> sample : run.samples()) {
      byQuery
          .computeIfAbsent(String.valueOf(sample.get("query")), q -> new LinkedHashMap<>())
          .put(String.valueOf(sample.get("when")), sample);
    }
    if (byQuery.isEmpty()) {
      return;
    }
    add(
        "<h3>Answers before and after</h3>\n"
            + "<table"
            + " class=\"texts\"><thead><tr><th>Query<th>Before<th>After</tr></thead><tbody>\n");
    byQuery.forEach(
        (query, when) -> {
          add("<tr><td>" + Html.text(query));
          for (String time : List.of("before", "after")) {
            Map<String, Object> sample = when.get(time);
            add("<td>" + (sample == null ? "" : answer(sample)));
          }
          add("</tr>\n");
        });
    add("</tbody></table>\n");
  }

  private void rollouts(RunHistory run) {
    RolloutExtremes r = run.rollouts();
    if (r.count() == 0) {
      return;
    }
    add("<h3>Rollouts</h3>\n<p class=\"note\">" + r.count() + " responses in all.</p>\n");
    rolloutTable("Highest score", r.highest());
    rolloutTable("Lowest score", r.lowest());
    rolloutTable("At the beginning", r.first());
    rolloutTable("At the end", r.last());
  }

  private void rolloutTable(String title, List<Map<String, Object>> rollouts) {
    if (rollouts.isEmpty()) {
      return;
    }
    add(
        "<details><summary>"
            + title
            + "</summary><table"
            + " class=\"texts\"><thead><tr><th>Step<th>Query<th>Response</tr></thead><tbody>\n");
    for (Map<String, Object> rollout : rollouts) {
      add("<tr><td>" + Html.text(rollout.getOrDefault(JsonLines.STEP, "")));
      add("<td>" + Html.text(textOrIds(rollout, "query")));
      add("<td>" + answer(rollout) + "</tr>\n");
    }
    add("</tbody></table></details>\n");
  }

  /** The response with its score and KL, as cell content. */
  private static String answer(Map<String, Object> rollout) {
    StringBuilder cell = new StringBuilder(Html.text(textOrIds(rollout, "response")));
    for (String key : List.of("score", "kl")) {
      if (rollout.get(key) instanceof Number n) {
        cell.append(" <span class=\"tag\">")
            .append(key)
            .append(' ')
            .append(number(n.doubleValue()))
            .append("</span>");
      }
    }
    return cell.toString();
  }

  private static String textOrIds(Map<String, Object> rollout, String what) {
    if (rollout.get(what) instanceof String text) {
      return text;
    }
    Object ids = rollout.get(what + "_ids");
    return ids == null ? "" : "ids " + ids;
  }

  private static String number(double value) {
    return String.format(Locale.ROOT, "%.4g", value);
  }

  private void foot() {
    add(
        "<!--\nuPlot, which draws the charts:\n"
            + uplot("LICENSE").replace("--", "- -")
            + "\n-->\n");
    add("<script>\n" + uplot("dist/uPlot.iife.min.js") + "\n" + own("report.js") + "</script>\n");
    add("</body>\n</html>\n");
  }

  private void add(String html) {
    page.append(html);
  }

  private static String own(String name) {
    return resource(HtmlReport.class.getResourceAsStream(name), name);
  }

  private static String uplot(String name) {
    ClassLoader loader = HtmlReport.class.getClassLoader();
    Properties properties = new Properties();
    try (InputStream in = loader.getResourceAsStream(UPLOT_PROPERTIES)) {
      properties.load(in);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    return resource(
        loader.getResourceAsStream(UPLOT + properties.getProperty("version") + "/" + name), name);
  }

  private static String resource(InputStream in, String name) {
    if (in == null) {
      throw new IllegalStateException("not on the class path: " + name);
    }
    try (in) {
      return new String(in.readAllBytes(), StandardCharsets.UTF_8);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
