package org.rlhf4j.report;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;

class ProgressTest {
  private final ByteArrayOutputStream bytes = new ByteArrayOutputStream();
  private final PrintStream out = new PrintStream(bytes, true, StandardCharsets.UTF_8);
  private long now;

  private Progress progress(int columns, boolean quiet) {
    return new Progress(new Terminal(out, columns), quiet, () -> now);
  }

  private List<String> lines() {
    return bytes.toString(StandardCharsets.UTF_8).lines().toList();
  }

  private void seconds(double s) {
    now += (long) (s * 1e9);
  }

  @Test
  void plainLinesComeNowAndThen() {
    Progress p = progress(0, false);
    p.begin("sft", 0, 100);
    for (int step = 1; step <= 100; step++) {
      seconds(1);
      p.step(step, Map.of("loss", 2.5, "tokens_per_second", 1234.4));
    }
    p.close();
    assertEquals("sft: 100 steps", lines().get(0));
    assertEquals("sft: step 1/100 (1%)  loss 2.5000  1234 tokens/s  1:39 left", lines().get(1));
    assertEquals("sft: step 100/100 (100%)  loss 2.5000  1234 tokens/s", lines().getLast());
    assertEquals(22, lines().size(), lines().toString());
    assertFalse(bytes.toString(StandardCharsets.UTF_8).contains("\r"));
  }

  @Test
  void fastStepsDoNotFloodTheLog() {
    Progress p = progress(0, false);
    p.begin("demo", 0, 20);
    for (int step = 1; step <= 20; step++) {
      seconds(0.01);
      p.step(step, Map.of());
    }
    p.close();
    assertEquals(
        List.of("demo: 20 steps", "demo: step 1/20 (5%)  0:00 left", "demo: step 20/20 (100%)"),
        lines());
  }

  @Test
  void slowStepsAreSeenAndAnInterruptedStageSaysHowFarItCame() {
    Progress p = progress(0, false);
    p.begin("ppo", 400, 1000);
    p.step(401, Map.of());
    seconds(31);
    p.step(402, Map.of("objective/kl", 0.5, "objective/scores", -1, "loss", 3));
    p.step(403, Map.of());
    p.close();
    p.close();
    assertEquals("ppo: 1000 steps, from step 400", lines().get(0));
    assertEquals("ppo: step 402/1000 (40%)  score -1.000  KL 0.500  2:34:29 left", lines().get(2));
    assertTrue(lines().get(3).startsWith("ppo: step 403/1000"));
    assertEquals(4, lines().size());
  }

  @Test
  void quietSaysNothing() {
    Progress p = progress(80, true);
    p.begin("sft", 0, 2);
    p.step(1, Map.of());
    p.note("x");
    p.close();
    assertEquals("", bytes.toString(StandardCharsets.UTF_8));
  }

  @Test
  void aTerminalHasOneLiveLineThatNotesStayAbove() {
    Progress p = progress(100, false);
    p.begin("reward", 0, 4);
    p.step(4, Map.of("loss", 0.25, "accuracy", 0.75));
    p.note("note");
    p.close();
    String screen = screen(bytes.toString(StandardCharsets.UTF_8));
    List<String> rows = screen.lines().toList();
    assertEquals("note", rows.get(0));
    assertTrue(rows.get(1).startsWith("reward 100%"), screen);
    assertTrue(rows.get(1).contains("loss 0.2500  accuracy 0.75"), screen);
    assertEquals(2, rows.size(), screen);
    assertTrue(rows.get(1).length() < 100);
  }

  @Test
  void otherOutputGoesAboveTheLiveLine() {
    Terminal t = new Terminal(out, 40);
    t.live("50%");
    t.printer().print("war");
    t.printer().print("ning ж\nnext\r\n");
    t.live("51%");
    t.keepLive();
    assertEquals("warning ж\nnext\n51%\n", screen(bytes.toString(StandardCharsets.UTF_8)));
  }

  @Test
  void halfALineIsSeenWhenFlushed() {
    Terminal t = new Terminal(out, 0);
    t.printer().print("half");
    t.printer().flush();
    assertEquals("half", bytes.toString(StandardCharsets.UTF_8));
  }

  /** What a terminal shows: erased lines are gone. */
  private static String screen(String text) {
    String normal = text.replace(System.lineSeparator(), "\n");
    return normal.replaceAll("[^\n]*\r\033\\[K", "");
  }
}
