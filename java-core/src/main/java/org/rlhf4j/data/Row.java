package org.rlhf4j.data;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import com.fasterxml.jackson.databind.node.TextNode;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Collectors;
import java.util.stream.StreamSupport;
import org.rlhf4j.InputException;
import org.rlhf4j.Nearest;
import org.rlhf4j.json.Json;
import org.rlhf4j.tokenizer.Message;

/**
 * One record of a data file, with messages that say where it stands. A null value counts as an
 * absent key.
 */
final class Row {
  private final Path file;
  private final String unit;
  private final long number;
  private final ObjectNode fields;

  /**
   * @param unit "line" (messages read FILE:LINE), "element" or "row"
   */
  Row(Path file, String unit, long number, JsonNode value) {
    this.file = file;
    this.unit = unit;
    this.number = number;
    if (!(value instanceof ObjectNode object)) {
      throw error("expected a JSON object, found " + Json.kind(value));
    }
    this.fields = object;
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

  boolean has(String key) {
    return fields.hasNonNull(key);
  }

  /** The first of these keys that is there, or null. */
  String firstOf(String... keys) {
    for (String key : keys) {
      if (has(key)) {
        return key;
      }
    }
    return null;
  }

  /**
   * None of the forms that this kind of data may have: says what was expected, what is there, and
   * what was perhaps meant.
   */
  InputException unknownForm(String expected, String... keys) {
    List<String> found = new ArrayList<>();
    fields.fieldNames().forEachRemaining(found::add);
    String hint =
        found.stream()
            .filter(f -> !List.of(keys).contains(f) && !Nearest.to(f, List.of(keys), 1).isEmpty())
            .map(
                f ->
                    "; did you mean '"
                        + Nearest.to(f, List.of(keys), 1).get(0)
                        + "' by '"
                        + f
                        + "'?")
            .findFirst()
            .orElse("");
    return error(
        "expected "
            + expected
            + ", found "
            + (found.isEmpty()
                ? "an empty object"
                : found.stream().collect(Collectors.joining("', '", "the keys '", "'")))
            + hint);
  }

  private JsonNode require(String key, String expected) {
    if (!has(key)) {
      List<String> found = new ArrayList<>();
      fields.fieldNames().forEachRemaining(found::add);
      throw error("'" + key + "' is missing: expected " + expected + Nearest.hint(key, found));
    }
    return fields.get(key);
  }

  boolean isList(String key) {
    return fields.path(key).isArray();
  }

  /** A text that is not empty. */
  String text(String key) {
    JsonNode node = require(key, "a string");
    if (!node.isTextual()) {
      throw error("'" + key + "': expected a string, found " + Json.kind(node));
    }
    if (node.textValue().isEmpty()) {
      throw error("'" + key + "': expected some text, found an empty string");
    }
    return node.textValue();
  }

  /** Token ids, each at least 0 and below {@code vocabSize}. */
  int[] ids(String key, int vocabSize, boolean mayBeEmpty) {
    JsonNode node = require(key, "a list of token ids");
    if (!node.isArray()) {
      throw error("'" + key + "': expected a list of token ids, found " + Json.kind(node));
    }
    if (node.isEmpty() && !mayBeEmpty) {
      throw error("'" + key + "': expected at least one token id, found an empty list");
    }
    int[] ids = new int[node.size()];
    for (int i = 0; i < ids.length; i++) {
      JsonNode item = node.get(i);
      if (!item.isInt()) {
        throw error("'" + key + "'[" + i + "]: expected a token id, found " + Json.kind(item));
      }
      ids[i] = item.intValue();
      if (ids[i] < 0 || ids[i] >= vocabSize) {
        throw error(
            "'"
                + key
                + "'["
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
    JsonNode node = require(key, "a whole number");
    if (!node.isInt()) {
      throw error("'" + key + "': expected a whole number, found " + Json.kind(node));
    }
    return node.intValue();
  }

  double number(String key) {
    JsonNode node = require(key, "a number");
    if (!node.isNumber()) {
      throw error("'" + key + "': expected a number, found " + Json.kind(node));
    }
    return node.doubleValue();
  }

  /** A list of {@code {"role": …, "content": …}}, not empty. */
  List<Message> messages(String key) {
    JsonNode node = require(key, "a list of messages");
    if (!node.isArray() || node.isEmpty()) {
      throw error(
          "'"
              + key
              + "': expected a list of {\"role\", \"content\"}, found "
              + (node.isArray() ? "an empty list" : Json.kind(node)));
    }
    List<Message> messages = new ArrayList<>();
    StreamSupport.stream(node.spliterator(), false)
        .forEach(
            item -> {
              String where = "'" + key + "'[" + messages.size() + "]";
              if (!item.isObject()) {
                throw error(where + ": expected {\"role\", \"content\"}, found " + Json.kind(item));
              }
              for (String part : new String[] {"role", "content"}) {
                if (!(item.get(part) instanceof TextNode)) {
                  throw error(
                      where
                          + ": '"
                          + part
                          + "': expected a string, found "
                          + Json.kind(item.get(part)));
                }
              }
              messages.add(
                  new Message(item.get("role").textValue(), item.get("content").textValue()));
            });
    return messages;
  }
}
