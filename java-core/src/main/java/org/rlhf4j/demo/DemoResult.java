package org.rlhf4j.demo;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;

/** What the demo came to, on held-out questions, before and after PPO. */
public record DemoResult(Evaluation.Outcome before, Evaluation.Outcome after, Path report) {

  /** For people. */
  public List<String> lines() {
    List<String> lines = new ArrayList<>();
    for (int i = 0; i < before.samples().size(); i++) {
      lines.add("");
      lines.add(before.samples().get(i).query());
      lines.add("  before: " + before.samples().get(i).response());
      lines.add("  after:  " + after.samples().get(i).response());
    }
    lines.add("");
    lines.add(
        String.format(Locale.ROOT, "%-34s %10s %10s", "on held-out questions", "before", "after"));
    lines.add(
        String.format(
            Locale.ROOT, "%-34s %10.3f %10.3f", "learned reward", before.reward(), after.reward()));
    lines.add(
        String.format(
            Locale.ROOT,
            "%-34s %10.3f %10.3f",
            "the rule's score (0 to 1)",
            before.rule(),
            after.rule()));
    lines.add(
        String.format(
            Locale.ROOT,
            "%-34s %10.3f %10.3f",
            "KL from the reference, nats/answer",
            before.kl(),
            after.kl()));
    return lines;
  }

  /** For programs. */
  public Map<String, Object> document() {
    Map<String, Object> document = new LinkedHashMap<>();
    document.put("reward", Map.of("before", before.reward(), "after", after.reward()));
    document.put("rule", Map.of("before", before.rule(), "after", after.rule()));
    document.put("kl", Map.of("before", before.kl(), "after", after.kl()));
    document.put("report", report.toString());
    return document;
  }
}
