package org.rlhf4j.data;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;
import org.rlhf4j.InputException;
import org.rlhf4j.Nearest;
import org.rlhf4j.json.Json;
import org.rlhf4j.tokenizer.Message;

/**
 * One record of a data file, with messages that say where it stands. A null value counts as an
 * absent key. Fields are asked for by their own names; a mapping says what they are called in the
 * file.
 */
final class Row {
  private final Path file;
  private final String unit;
  private final long number;
  private final ObjectNode fields;
  private final boolean textOnly;
  private final Map<String, String> columns;

  /**
   * @param unit "line" (messages read FILE:LINE), "element" or "row"
   */
  Row(Path file, String unit, long number, JsonNode value) {
    this(file, unit, number, value, false);
  }

  /**
   * @param textOnly lists and numbers are written as JSON in texts, as CSV must
   */
  Row(Path file, String unit, long number, JsonNode value, boolean textOnly) {
    this(file, unit, number, object(file, unit, number, value), textOnly, Map.of());
  }

  private Row(
      Path file,
      String unit,
      long number,
      ObjectNode fields,
      boolean textOnly,
      Map<String, String> columns) {
    this.file = file;
    this.unit = unit;
    this.number = number;
    this.fields = fields;
    this.textOnly = textOnly;
    this.columns = columns;
  }

  private static ObjectNode object(Path file, String unit, long number, JsonNode value) {
    if (value instanceof ObjectNode object) {
      return object;
    }
    throw error(file, unit, number, "expected a JSON object, found " + Json.kind(value));
  }

  /**
   * This row with other names for its fields.
   *
   * @param mapping what a field is called in the file, by its own name
   * @throws InputException when the file has no such column
   */
  Row withColumns(Map<String, String> mapping) {
    mapping.forEach(
        (key, column) -> {
          if (!fields.has(column)) {
            throw error(
                "columns."
                    + key
                    + ": expected the column '"
                    + column
                    + "', found "
                    + found()
                    + Nearest.hint(column, names()));
          }
        });
    return new Row(file, unit, number, fields, textOnly, mapping);
  }

  long number() {
    return number;
  }

  InputException error(String problem) {
    return error(file, unit, number, problem);
  }

  static InputException error(Path file, String unit, long number, String problem) {
    return unit.equals("line")
        ? InputException.at(file, number, problem)
        : InputException.at(file, unit + " " + number + ": " + problem);
  }

  private String column(String key) {
    return columns.getOrDefault(key, key);
  }

  boolean has(String key) {
    return fields.hasNonNull(column(key));
  }

  /** The first of these keys that is there, or null; one that is mapped goes before all others. */
  String firstOf(String... keys) {
    for (String key : keys) {
      if (columns.containsKey(key) && has(key)) {
        return key;
      }
    }
    for (String key : keys) {
      if (has(key)) {
        return key;
      }
    }
    return null;
  }

  private List<String> names() {
    List<String> names = new ArrayList<>();
    fields.fieldNames().forEachRemaining(names::add);
    return names;
  }

  private String found() {
    return fields.isEmpty()
        ? "an empty object"
        : names().stream().collect(Collectors.joining("', '", "the keys '", "'"));
  }

  /**
   * None of the forms that this kind of data may have: says what was expected, what is there, and
   * what was perhaps meant.
   */
  InputException unknownForm(String expected, String... keys) {
    return error(
        "expected "
            + expected
            + ", found "
            + found()
            + misspelt(keys)
            + "; columns.NAME=COLUMN says what a field is called");
  }

  /** A hint where a key of the row looks like one of {@code keys}, or the empty string. */
  String misspelt(String... keys) {
    return names().stream()
        .filter(f -> !List.of(keys).contains(f) && !Nearest.to(f, List.of(keys), 1).isEmpty())
        .map(f -> "; did you mean '" + Nearest.to(f, List.of(keys), 1).get(0) + "' by '" + f + "'?")
        .findFirst()
        .orElse("");
  }

  private JsonNode require(String key, String expected) {
    if (!has(key)) {
      throw error(
          name(key) + " is missing: expected " + expected + Nearest.hint(column(key), names()));
    }
    return fields.get(column(key));
  }

  /** The key as messages name it: as the file does. */
  private String name(String key) {
    return "'" + column(key) + "'";
  }

  /** A value that must not be a text: in CSV, the JSON that the cell holds. */
  private JsonNode value(String key, String expected) {
    JsonNode node = require(key, expected);
    if (!textOnly) {
      return node;
    }
    try {
      return Json.MAPPER.readTree(node.textValue());
    } catch (JsonProcessingException e) {
      throw error(name(key) + ": expected a JSON list or number, found '" + node.textValue() + "'");
    }
  }

  /** Whether the value is a list; a text of a CSV is one where it can be a list of messages. */
  boolean isList(String key) {
    JsonNode node = fields.path(column(key));
    return node.isArray() || textOnly && node.asText().matches("(?s)\\s*\\[\\s*\\{.*}\\s*]\\s*");
  }

  /** A text that is not empty. */
  String text(String key) {
    JsonNode node = require(key, "a string");
    if (!node.isTextual()) {
      throw error(name(key) + ": expected a string, found " + Json.kind(node));
    }
    if (node.textValue().isEmpty()) {
      throw error(name(key) + ": expected some text, found an empty string");
    }
    return node.textValue();
  }

  /** A text, or the empty string where there is none. */
  String textOrEmpty(String key) {
    return has(key) && !fields.path(column(key)).asText("x").isEmpty() ? text(key) : "";
  }

  /** Token ids, each at least 0 and below {@code vocabSize}. */
  int[] ids(String key, int vocabSize, boolean mayBeEmpty) {
    JsonNode node = value(key, "a list of token ids");
    if (!node.isArray()) {
      throw error(name(key) + ": expected a list of token ids, found " + Json.kind(node));
    }
    if (node.isEmpty() && !mayBeEmpty) {
      throw error(name(key) + ": expected at least one token id, found an empty list");
    }
    int[] ids = new int[node.size()];
    for (int i = 0; i < ids.length; i++) {
      JsonNode item = node.get(i);
      if (!item.isInt()) {
        throw error(name(key) + "[" + i + "]: expected a token id, found " + Json.kind(item));
      }
      ids[i] = item.intValue();
      if (ids[i] < 0 || ids[i] >= vocabSize) {
        throw error(
            name(key)
                + "["
                + i
                + "]: expected a token id of 0 to "
                + (vocabSize - 1)
                + ", found "
                + ids[i]);
      }
    }
    return ids;
  }

  int integer(String key) {
    JsonNode node = value(key, "a whole number");
    if (!node.isInt()) {
      throw error(name(key) + ": expected a whole number, found " + Json.kind(node));
    }
    return node.intValue();
  }

  double number(String key) {
    JsonNode node = value(key, "a number");
    if (!node.isNumber()) {
      throw error(name(key) + ": expected a number, found " + Json.kind(node));
    }
    return node.doubleValue();
  }

  /**
   * A list of {@code {"role": …, "content": …}}, not empty; also in ShareGPT's words, {@code
   * {"from": "human", "value": …}}.
   */
  List<Message> messages(String key) {
    JsonNode node = value(key, "a list of messages");
    if (!node.isArray() || node.isEmpty()) {
      throw error(
          name(key)
              + ": expected a list of {\"role\", \"content\"}, found "
              + (node.isArray() ? "an empty list" : Json.kind(node)));
    }
    List<Message> messages = new ArrayList<>();
    for (JsonNode item : node) {
      String where = name(key) + "[" + messages.size() + "]";
      if (!item.isObject()) {
        throw error(where + ": expected {\"role\", \"content\"}, found " + Json.kind(item));
      }
      messages.add(message(where, (ObjectNode) item));
    }
    return messages;
  }

  private Message message(String where, ObjectNode item) {
    boolean shareGpt = !item.has("role") && item.has("from");
    String roleKey = shareGpt ? "from" : "role";
    String contentKey = shareGpt ? "value" : "content";
    if (!item.path(roleKey).isTextual()) {
      throw error(
          where + ": '" + roleKey + "': expected a string, found " + Json.kind(item.get(roleKey)));
    }
    String role = item.get(roleKey).textValue();
    Map<String, Object> more = new LinkedHashMap<>();
    item.properties().stream()
        .filter(e -> !e.getKey().equals(roleKey) && !e.getKey().equals(contentKey))
        .filter(e -> !e.getValue().isNull())
        .forEach(e -> more.put(e.getKey(), Json.MAPPER.convertValue(e.getValue(), Object.class)));
    if (!shareGpt) {
      return new Message(role, content(where, item.get("content"), more), more);
    }
    String known =
        switch (role) {
          case "human", "user" -> "user";
          case "gpt", "chatgpt", "bing", "bard", "assistant" -> "assistant";
          case "system", "tool" -> role;
          default ->
              throw error(
                  where + ": 'from': expected human, gpt, system or tool, found '" + role + "'");
        };
    return new Message(known, content(where, item.get(contentKey), more), more);
  }

  /** A text, or the texts of a list of parts; none only where a tool is called. */
  private String content(String where, JsonNode content, Map<String, Object> more) {
    if (content != null && content.isArray()) {
      StringBuilder text = new StringBuilder();
      for (JsonNode part : content) {
        if (!part.path("type").asText().equals("text") || !part.path("text").isTextual()) {
          throw error(where + ": 'content': expected parts of text only, found " + Json.kind(part));
        }
        text.append(part.get("text").textValue());
      }
      return text.toString();
    }
    boolean none = content == null || content.isNull();
    if (none && more.containsKey("tool_calls")) {
      return null;
    }
    if (none || !content.isTextual()) {
      throw error(where + ": 'content': expected a string, found " + Json.kind(content));
    }
    return content.textValue();
  }

  /** What a chat template may look at beside the messages: tools, and what the row sets itself. */
  Map<String, Object> templateVariables() {
    Map<String, Object> variables = new LinkedHashMap<>();
    if (has("chat_template_kwargs")) {
      JsonNode more = value("chat_template_kwargs", "an object");
      if (!more.isObject()) {
        throw error("'chat_template_kwargs': expected an object, found " + Json.kind(more));
      }
      more.properties()
          .forEach(
              e -> variables.put(e.getKey(), Json.MAPPER.convertValue(e.getValue(), Object.class)));
    }
    if (has("tools")) {
      JsonNode tools = fields.get(column("tools"));
      try {
        tools = tools.isTextual() ? Json.MAPPER.readTree(tools.textValue()) : tools;
      } catch (JsonProcessingException e) {
        throw error("'tools': expected a list of tools, as JSON, found another text");
      }
      if (!tools.isArray()) {
        throw error("'tools': expected a list of tools, found " + Json.kind(tools));
      }
      variables.put("tools", Json.MAPPER.convertValue(tools, Object.class));
    }
    return variables;
  }
}
