package org.rlhf4j.report;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.IntToDoubleFunction;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.rlhf4j.config.Command;
import org.rlhf4j.config.Settings;

class HealthChecksTest {
  private static final Settings PPO = Settings.defaults(Command.PPO);

  /** A healthy run of {@code n} batches: every metric wobbles in its usual range. */
  private static List<Map<String, Object>> healthy(int n) {
    List<Map<String, Object>> history = new ArrayList<>();
    for (int i = 0; i < n; i++) {
      double wobble = Math.sin(i * 1.7);
      Map<String, Object> m = new LinkedHashMap<>();
      m.put("objective/kl", Math.max(0, 0.05 * i) + 0.05 * wobble);
      m.put("objective/entropy", 2 - 0.005 * i + 0.1 * wobble);
      m.put("objective/scores", 0.02 * i + 0.3 * Math.cos(i * 2.3));
      m.put("ppo/policy/clipfrac", 0.1 + 0.05 * wobble);
      m.put("ppo/policy/first_ratio_mean", 1.0);
      m.put("ppo/val/explained_variance", i < 10 ? -0.5 : 0.3 + 0.1 * wobble);
      m.put("ppo/skipped_minibatches", 0);
      m.put("val/num_eos_tokens", i % 3);
      m.put("tokens/responses_len_mean", 20 + 3 * wobble);
      m.put("grad_norm", 0.5);
      history.add(m);
    }
    return history;
  }

  private static List<String> codes(List<Finding> findings) {
    return findings.stream().map(Finding::code).toList();
  }

  private static List<String> with(int n, String metric, IntToDoubleFunction values) {
    List<Map<String, Object>> history = healthy(n);
    for (int i = 0; i < n; i++) {
      history.get(i).put(metric, values.applyAsDouble(i));
    }
    return codes(HealthChecks.of(history, PPO));
  }

  @Test
  void aHealthyRunIsSilentAtEveryStep() {
    HealthMonitor monitor = new HealthMonitor(PPO);
    for (Map<String, Object> m : healthy(200)) {
      assertEquals(List.of(), monitor.observe(m));
    }
    assertEquals(List.of(), HealthChecks.of(List.of(), PPO));
    assertEquals(List.of(), HealthChecks.of(List.of(Map.of()), PPO));
  }

  @Test
  void everySicknessHasItsFinding() {
    assertEquals(List.of("kl-negative"), with(10, "objective/kl", i -> -0.2));
    assertEquals(List.of("kl-negative"), with(1, "objective/kl", i -> -3));
    assertEquals(List.of("kl-exploding"), with(20, "objective/kl", i -> i < 17 ? 2 : 12));
    assertEquals(List.of("kl-exploding"), with(20, "objective/kl", i -> 60));
    assertEquals(List.of(), with(20, "objective/kl", i -> 15));
    assertEquals(List.of("first-ratio"), with(1, "ppo/policy/first_ratio_mean", i -> 1.05));
    assertEquals(List.of("clipfrac-high"), with(10, "ppo/policy/clipfrac", i -> 0.4));
    assertEquals(List.of("clipfrac-zero"), with(40, "ppo/policy/clipfrac", i -> 0));
    assertEquals(List.of(), with(39, "ppo/policy/clipfrac", i -> 0));
    assertEquals(List.of("explained-variance"), with(40, "ppo/val/explained_variance", i -> -0.1));
    assertEquals(List.of("skipped"), with(10, "ppo/skipped_minibatches", i -> i == 9 ? 1 : 0));
    assertEquals(List.of("entropy-collapse"), with(20, "objective/entropy", i -> i < 10 ? 2 : 0.1));
    assertEquals(List.of("no-eos"), with(10, "val/num_eos_tokens", i -> 0));
    assertEquals(List.of("eos-at-once"), with(10, "tokens/responses_len_mean", i -> 1));
    assertEquals(List.of("reward-constant"), with(10, "objective/scores", i -> 0.7));
    assertEquals(List.of("not-a-number"), with(3, "loss", i -> i == 2 ? Double.NaN : 1));
    assertEquals(List.of("no-gradient"), with(10, "grad_norm", i -> 0));
  }

  @Test
  void lengthThatGrowsWithTheScoreIsSuspicious() {
    List<Map<String, Object>> history = healthy(30);
    for (int i = 0; i < 30; i++) {
      history.get(i).put("tokens/responses_len_mean", 20.0 + i);
      history.get(i).put("objective/scores", 0.1 * i);
    }
    List<Finding> findings = HealthChecks.of(history, PPO);
    assertEquals(List.of("length-drift"), codes(findings));
    assertTrue(findings.get(0).text().contains("24.5 to 44.5 tokens"), findings.get(0).text());
  }

  @Test
  void aFindingIsToldWhenItBeginsAndAgainAfterAPause() {
    HealthMonitor monitor = new HealthMonitor(PPO);
    List<Integer> told = new ArrayList<>();
    List<Map<String, Object>> history = healthy(100);
    for (int i = 0; i < 100; i++) {
      history
          .get(i)
          .put("ppo/policy/first_ratio_mean", i == 10 || i == 11 || i == 25 || i == 60 ? 2.0 : 1.0);
      if (!monitor.observe(history.get(i)).isEmpty()) {
        told.add(i);
      }
    }
    assertEquals(List.of(10, 60), told);
  }

  @Test
  void nullIsHowTheFileWritesWhatIsNotANumber() {
    Map<String, Object> m = new HashMap<>();
    m.put("loss", null);
    assertEquals(
        List.of("not-a-number"),
        codes(HealthChecks.of(List.of(m), Settings.defaults(Command.SFT))));
  }

  @Test
  void lossesThatRiseAreTold() {
    List<Map<String, Object>> history = new ArrayList<>();
    for (int i = 0; i < 30; i++) {
      history.add(Map.of("loss", i < 20 ? 1.0 : 2.0));
    }
    Settings sft = Settings.defaults(Command.SFT);
    assertEquals(List.of("loss-rising"), codes(HealthChecks.of(history, sft)));
    assertEquals(List.of(), HealthChecks.of(history.subList(0, 20), sft));
  }

  @Test
  void swappedPairsShowInTheAccuracy() {
    List<Map<String, Object>> history = new ArrayList<>();
    for (int i = 0; i < 50; i++) {
      history.add(Map.of("accuracy", 0.2, "margin", -0.1));
    }
    Settings reward = Settings.defaults(Command.REWARD);
    assertEquals(List.of("accuracy-low"), codes(HealthChecks.of(history, reward)));
  }

  @ParameterizedTest
  @CsvSource({"0,pairs-equal", "3,pairs-cut", "4,"})
  void pairsThatCannotTeachAreCounted(int maxLength, String code) {
    int[][] chosen = {{1, 2, 3, 4}, {1, 2}};
    int[][] rejected = {maxLength == 0 ? new int[] {1, 2, 3, 4} : new int[] {1, 2, 3, 5}, {1, 3}};
    List<Finding> findings = HealthChecks.ofPairs(2, i -> chosen[i], i -> rejected[i], maxLength);
    assertEquals(code == null ? List.of() : List.of(code), codes(findings));
  }

  @Test
  void doubtfulSamplingIsTold() {
    assertEquals(List.of("configuration"), codes(HealthChecks.of(PPO.with("top_k", 50))));
  }
}
