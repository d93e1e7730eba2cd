package org.rlhf4j.tokenizer;

import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Objects;

/**
 * One turn of a conversation: who speaks ({@code system}, {@code user}, {@code assistant}, {@code
 * tool}, …) and what.
 *
 * @param content null only where {@code more} says the rest: a call of a tool has no text
 * @param more what else templates may look at ({@code tool_calls}, {@code name}, {@code
 *     reasoning_content}, …), as maps, lists, strings, numbers and booleans
 */
public record Message(String role, String content, Map<String, Object> more) {
  public Message {
    Objects.requireNonNull(role, "role");
    if (more.isEmpty()) {
      Objects.requireNonNull(content, "content");
    }
  }

  public Message(String role, String content) {
    this(role, content, Map.of());
  }

  /** As templates see it. */
  Map<String, Object> toMap() {
    Map<String, Object> map = new LinkedHashMap<>();
    map.put("role", role);
    map.put("content", content);
    map.putAll(more);
    return map;
  }
}
