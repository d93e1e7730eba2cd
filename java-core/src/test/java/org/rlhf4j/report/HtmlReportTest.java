package org.rlhf4j.report;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.rlhf4j.InputException;
import org.rlhf4j.config.Command;
import org.rlhf4j.config.Settings;

class HtmlReportTest {
  private static final String EVIL =
      "</script><script>alert(1)</script><img src=x onerror='alert(\"2\")'>&amp;";

  @TempDir Path temp;

  private Path run(String name, Command command, int steps) {
    Path out = temp.resolve(name);
    try (RunFolder run = RunFolder.open(out, Settings.defaults(command), Map.of("java", "25"))) {
      RunReport report = new RunReport(run, Settings.defaults(command), new Progress(true));
      report.begin(0, steps);
      for (int step = 1; step <= steps; step++) {
        Map<String, Object> m = new LinkedHashMap<>();
        m.put("loss", 2.0 / step);
        m.put("learning_rate", 1e-4);
        m.put("tokens_per_second", 100 + step);
        if (command == Command.PPO) {
          m.put("objective/kl", step == 3 ? Double.NaN : 0.01 * step);
          m.put("objective/scores", Math.sin(step));
          run.rollout(
              step,
              Map.of(
                  "query",
                  "q" + step,
                  "response",
                  EVIL + step,
                  "score",
                  Math.sin(step),
                  "kl",
                  0.1));
        }
        report.step(step, m);
      }
      if (command == Command.PPO) {
        run.sample(steps, "before", Map.of("query", EVIL, "response", "old", "score", -1));
        run.sample(steps, "after", Map.of("query", EVIL, "response", "new " + EVIL, "score", 1));
      }
      report.end();
    }
    return out;
  }

  /** The page less its scripts and styles. */
  private static String body(String html) {
    return html.replaceAll("(?s)<script.*?</script>|<style.*?</style>|<!--.*?-->", "");
  }

  @Test
  void oneFileWithoutConnections() throws IOException {
    String html = Files.readString(HtmlReport.write(run("a", Command.SFT, 5)));
    assertFalse(
        Pattern.compile("(?i)<(link|img|iframe|object|embed|base|form)\\b")
            .matcher(body(html))
            .find());
    assertFalse(
        Pattern.compile("(?i)\\b(src|href)\\s*=\\s*[\"']?(https?:)?//").matcher(html).find());
    assertFalse(html.contains("@import"));
    assertFalse(html.contains("url("));
    assertTrue(html.contains("default-src 'none'"));
    assertTrue(html.contains("The MIT License"), "uPlot's licence");
    assertTrue(html.contains("var uPlot="));
    assertFalse(html.contains(temp.toString()));
  }

  @Test
  void dataCannotBecomeMarkup() throws IOException {
    String html = Files.readString(HtmlReport.write(run("a<b>", Command.PPO, 6)));
    assertFalse(html.contains("<script>alert"));
    assertFalse(html.contains("<img"));
    assertFalse(body(html).contains("<b>\""));
    assertTrue(html.contains("&lt;/script&gt;&lt;script&gt;alert(1)&lt;/script&gt;&lt;img"));
    assertTrue(html.contains("&amp;amp;"));
    assertTrue(html.contains("<title>a&lt;b&gt;</title>"));
    // Three scripts of ours close: the data, and the one with the library.
    assertEquals(2, html.split("</script>", -1).length - 1);
    assertEquals("\\u0007\\u202etxt", Html.text("\u0007\u202etxt"));
    assertEquals("😀", Html.text("😀"));
    String json = Html.json(Map.of("</script><!--", "\u2028&"));
    assertEquals("{\"\\u003c/script\\u003e\\u003c!--\":\"\\u2028\\u0026\"}", json);
  }

  @Test
  void metricsRolloutsSamplesAndHealthAreThere() throws IOException {
    Path out = run("a", Command.PPO, 12);
    Path config = out.resolve("config.yaml");
    Files.writeString(config, Files.readString(config).replace("top_k: 0", "top_k: 50"));
    String html = Files.readString(HtmlReport.write(out));
    assertTrue(html.contains("<li>configuration: top_k: 50: sampling does not cover"), html);
    String body = body(html);
    for (String metric : List.of("loss", "objective/kl", "objective/scores", "learning_rate")) {
      assertTrue(body.contains("<figure data-metric=\"" + metric + "\">"), metric);
    }
    assertTrue(body.contains("Answers before and after"));
    assertTrue(body.contains("Highest score"));
    assertTrue(body.contains("step 3: objective/kl is not a finite number"), body);
    assertTrue(body.contains("init_kl_coef: 0.2"));
    assertTrue(body.contains("PPO, 12 batches; at the end: score -0.537  KL 0.120"));
    int best = body.indexOf("Highest score");
    assertTrue(body.indexOf(">q8<", best) < body.indexOf(">q2<", best), "sin(8) > sin(2)");

    Matcher data = Pattern.compile("id=\"data0\">(.*?)</script>").matcher(html);
    assertTrue(data.find());
    JsonNode columns = new ObjectMapper().readTree(data.group(1));
    assertEquals(12, columns.get("loss").get(0).size());
    assertEquals(11, columns.get("objective/kl").get(1).size(), "the NaN is left out");
    assertEquals(2.0, columns.get("loss").get(1).get(0).asDouble());
    assertFalse(columns.has("step"));
  }

  @Test
  void healthIsInTheMetricsToo() throws IOException {
    Path out = run("a", Command.PPO, 3);
    String line = Files.readAllLines(out.resolve("metrics.jsonl")).get(2);
    assertTrue(line.contains("\"objective/kl\":null"), line);
    assertTrue(line.contains("\"health\":[\"objective/kl is not a finite number"), line);
  }

  @Test
  void severalStagesMakeOnePage() throws IOException {
    Path sft = run("demo/1-sft", Command.SFT, 40);
    Path reward = run("demo/2-reward", Command.REWARD, 2);
    Path ppo = run("demo/3-ppo", Command.PPO, 0);
    String html =
        Files.readString(
            HtmlReport.write(List.of(sft, reward, ppo), temp.resolve("demo/report.html")));
    assertTrue(html.contains("<title>rlhf4j: 3 stages</title>"));
    assertTrue(html.indexOf("id=\"run0\"") < html.indexOf("id=\"run2\""));
    assertTrue(html.contains("No step has been recorded yet."));
    assertTrue(Files.isRegularFile(HtmlReport.write(temp.resolve("demo"))));
  }

  @Test
  void longRunsAreThinned() {
    List<Map<String, Object>> metrics =
        java.util.stream.IntStream.rangeClosed(1, 4000)
            .mapToObj(
                i -> {
                  Map<String, Object> m = new HashMap<>();
                  m.put("step", i);
                  m.put("loss", (double) i);
                  return m;
                })
            .toList();
    List<List<Double>> loss = ChartData.columns(metrics).get("loss");
    assertEquals(1334, loss.get(0).size());
    assertEquals(loss.get(0), loss.get(1));
    assertEquals(2, loss.get(0).get(0));
    assertEquals(4000, loss.get(0).getLast());
  }

  @Test
  void whatIsNoRunIsTold() {
    assertTrue(
        assertThrows(InputException.class, () -> HtmlReport.write(temp))
            .getMessage()
            .endsWith("expected a run folder (with a config.yaml), or a folder of such"));
  }

  @Test
  void aResumedReportGoesOnAsIfNothingHadHappened() throws IOException {
    Path whole = run("whole", Command.SFT, 6);
    Path broken = temp.resolve("broken");
    Settings settings = Settings.defaults(Command.SFT);
    try (RunFolder run = RunFolder.open(broken, settings, Map.of("java", "25"))) {
      RunReport report = new RunReport(run, settings, new Progress(true));
      report.begin(0, 6);
      for (int step = 1; step <= 4; step++) {
        report.step(step, Map.of("loss", -1.0));
      }
      run.metrics(5, Map.of("x", 1));
    }
    Files.copy(whole.resolve("metrics.jsonl"), temp.resolve("first"));
    List<String> lines = Files.readAllLines(temp.resolve("first"));
    Files.write(broken.resolve("metrics.jsonl"), lines.subList(0, 5));
    Settings again = settings.with("resume", true);
    try (RunFolder run = RunFolder.open(broken, again, Map.of("java", "25"))) {
      RunReport report = new RunReport(run, again, new Progress(true));
      report.begin(3, 6);
      for (int step = 4; step <= 6; step++) {
        Map<String, Object> m = new LinkedHashMap<>();
        m.put("loss", 2.0 / step);
        m.put("learning_rate", 1e-4);
        m.put("tokens_per_second", 100 + step);
        report.step(step, m);
      }
    }
    assertEquals(lines, Files.readAllLines(broken.resolve("metrics.jsonl")));
    assertEquals(
        Files.readString(whole.resolve("config.yaml")),
        Files.readString(broken.resolve("config.yaml")));
  }
}
