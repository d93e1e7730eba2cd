package org.rlhf4j.cli;

import com.fasterxml.jackson.core.JsonProcessingException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import org.rlhf4j.json.Json;

/** Standard output: text for people, or one JSON document. */
final class Output {
  private Output() {}

  /** Standard output as it is now: an embedding program or a test may have redirected it. */
  private static PrintStream out() {
    return new PrintStream(System.out, true, StandardCharsets.UTF_8);
  }

  static void line(String text) {
    out().println(text);
  }

  static void json(Object document) {
    try {
      out().println(Json.MAPPER.writeValueAsString(document));
    } catch (JsonProcessingException e) {
      throw new IllegalStateException(e);
    }
  }
}
