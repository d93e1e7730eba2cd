package org.rlhf4j.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assertions.fail;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/** One command line that was run in this process, and what it printed. */
record Ran(String what, int code, String out, String err) {
  private static final ObjectMapper STRICT =
      new ObjectMapper().enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS);

  /** Runs with both standard streams captured. */
  static Ran run(Object... arguments) {
    String[] args = Arrays.stream(arguments).map(String::valueOf).toArray(String[]::new);
    PrintStream out = System.out;
    PrintStream err = System.err;
    ByteArrayOutputStream outBytes = new ByteArrayOutputStream();
    ByteArrayOutputStream errBytes = new ByteArrayOutputStream();
    try {
      System.setOut(new PrintStream(outBytes, true, StandardCharsets.UTF_8));
      System.setErr(new PrintStream(errBytes, true, StandardCharsets.UTF_8));
      int code = Main.run(args);
      return new Ran(
          String.join(" ", args),
          code,
          outBytes.toString(StandardCharsets.UTF_8),
          errBytes.toString(StandardCharsets.UTF_8));
    } finally {
      System.setOut(out);
      System.setErr(err);
    }
  }

  /** Runs with {@code --json}: it must do its work, and standard output must be one document. */
  static JsonNode json(Object... arguments) {
    List<Object> all = new ArrayList<>(List.of(arguments));
    all.add("--json");
    return run(all.toArray()).done().document();
  }

  /** Fails the test unless the command did its work. */
  Ran done() {
    assertEquals(0, code, this::toString);
    return this;
  }

  /** Standard output as the one JSON document that it must be. */
  JsonNode document() {
    try {
      return STRICT.readTree(out);
    } catch (JsonProcessingException e) {
      return fail("not one JSON document on standard output: " + e.getMessage() + "\n" + this);
    }
  }

  /**
   * Fails the test unless wrong input was refused: code 2, one plain message that holds {@code
   * words}.
   */
  Ran refused(String... words) {
    assertEquals(2, code, this::toString);
    assertEquals("", out, this::toString);
    assertEquals(
        1, err.lines().filter(line -> line.startsWith("rlhf4j: ")).count(), this::toString);
    assertFalse(err.contains("\tat "), () -> "a stack trace:\n" + this);
    assertFalse(err.contains("Exception"), () -> "a class name is no message:\n" + this);
    for (String word : words) {
      assertTrue(err.contains(word), () -> "no '" + word + "' in the message of\n" + this);
    }
    return this;
  }

  @Override
  public String toString() {
    return "rlhf4j "
        + what
        + "\n-- code "
        + code
        + "\n-- standard output\n"
        + out
        + "\n-- standard error\n"
        + err;
  }
}
