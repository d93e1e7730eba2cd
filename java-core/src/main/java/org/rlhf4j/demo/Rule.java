package org.rlhf4j.demo;

import java.util.Locale;

/**
 * What a good answer is, as a plain rule: a quarter each for opening politely, naming the topic,
 * having at least two whole sentences, and holding no filler. It ranks the demo's preference pairs
 * and judges its results; no model ever sees it.
 */
final class Rule {
  private Rule() {}

  /**
   * @param ended whether the answer ended by itself, not at the length limit
   * @return 0 to 1
   */
  static double score(Topic topic, String answer, boolean ended) {
    String text = answer.strip();
    String lower = text.toLowerCase(Locale.ROOT);
    double score = 0;
    if (topic.language().openers.stream().anyMatch(text::startsWith)) {
      score += 0.25;
    }
    if (lower.contains(topic.name())) {
      score += 0.25;
    }
    if (ended && sentences(text) >= 2) {
      score += 0.25;
    }
    if (!text.isEmpty() && !lower.contains("whatever") && !text.contains("随便")) {
      score += 0.25;
    }
    return score;
  }

  /** Finished sentences; 0 if the last one is not. */
  private static int sentences(String text) {
    int n = 0;
    for (int i = 0; i < text.length(); i++) {
      n += ".!?。！？".indexOf(text.charAt(i)) >= 0 ? 1 : 0;
    }
    return !text.isEmpty() && ".!?。！？".indexOf(text.charAt(text.length() - 1)) >= 0 ? n : 0;
  }
}
