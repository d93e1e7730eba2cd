package org.rlhf4j.cli;

import com.fasterxml.jackson.core.JsonProcessingException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import org.rlhf4j.json.Json;

/** Standard output: text for people, or one JSON document. */
final class Output {
  private static final PrintStream OUT = new PrintStream(System.out, true, StandardCharsets.UTF_8);

  private Output() {}

  static void line(String text) {
    OUT.println(text);
  }

  static void json(Object document) {
    try {
      OUT.println(Json.MAPPER.writeValueAsString(document));
    } catch (JsonProcessingException e) {
      throw new IllegalStateException(e);
    }
  }
}
