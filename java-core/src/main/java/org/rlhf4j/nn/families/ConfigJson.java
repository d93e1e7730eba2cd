package org.rlhf4j.nn.families;

import com.fasterxml.jackson.databind.JsonNode;
import java.util.ArrayList;
import java.util.List;
import org.rlhf4j.InputException;
import org.rlhf4j.json.Json;
import org.rlhf4j.nn.Activation;

/**
 * A config.json as families read it: every method names the file and the key in its messages. null
 * counts as absent.
 *
 * @param where names the file, or the object in it
 */
record ConfigJson(JsonNode json, String where) {
  boolean has(String key) {
    return json.hasNonNull(key);
  }

  /** An object inside, empty where there is none. */
  ConfigJson object(String key) {
    return new ConfigJson(json.path(key), where + ": " + key);
  }

  /** A positive whole number. */
  int size(String key) {
    JsonNode value = json.path(key);
    if (!value.isIntegralNumber() || !value.canConvertToInt() || value.asInt() <= 0) {
      throw problem(key, "expected a positive number");
    }
    return value.asInt();
  }

  int size(String key, int otherwise) {
    return has(key) ? size(key) : otherwise;
  }

  double number(String key) {
    if (!json.path(key).isNumber()) {
      throw problem(key, "expected a number");
    }
    return json.get(key).asDouble();
  }

  double number(String key, double otherwise) {
    return has(key) ? number(key) : otherwise;
  }

  double[] numbers(String key) {
    JsonNode list = json.path(key);
    double[] values = new double[list.size()];
    for (int i = 0; i < values.length; i++) {
      if (!list.get(i).isNumber()) {
        throw problem(key, "expected a list of numbers");
      }
      values[i] = list.get(i).asDouble();
    }
    return values;
  }

  boolean flag(String key, boolean otherwise) {
    if (!has(key)) {
      return otherwise;
    }
    if (!json.get(key).isBoolean()) {
      throw problem(key, "expected true or false");
    }
    return json.get(key).asBoolean();
  }

  String text(String key, String otherwise) {
    return has(key) ? json.get(key).asText() : otherwise;
  }

  List<String> texts(String key) {
    List<String> texts = new ArrayList<>();
    json.path(key).forEach(t -> texts.add(t.asText()));
    return texts;
  }

  /** Refuses a switch that is on. */
  void mustBeOff(String key) {
    if (flag(key, false)) {
      throw problem(key, "expected false");
    }
  }

  /** Refuses a switch that is off where it is on by default. */
  void mustBeOn(String key) {
    if (!flag(key, true)) {
      throw problem(key, "expected true");
    }
  }

  /** Refuses an option that is set at all. */
  void mustBeAbsent(String key) {
    if (has(key)) {
      throw problem(key, "expected null");
    }
  }

  /** The activation of a gated MLP. */
  Activation gatedActivation(String key, String otherwise) {
    return switch (text(key, otherwise)) {
      case "silu", "swish" -> Activation.SWIGLU;
      case "gelu_pytorch_tanh" -> Activation.GEGLU;
      default -> throw problem(key, "expected 'silu' or 'gelu_pytorch_tanh'");
    };
  }

  /** The activation of an MLP without a gate. */
  Activation plainActivation(String key) {
    return switch (text(key, "gelu_new")) {
      case "gelu_new", "gelu_pytorch_tanh" -> Activation.GELU;
      default -> throw problem(key, "expected 'gelu_new' or 'gelu_pytorch_tanh'");
    };
  }

  /** "FILE: KEY: expected …, found …". */
  InputException problem(String key, String expected) {
    JsonNode found = json.path(key);
    String text = found.isValueNode() ? found.toString() : Json.kind(found);
    return new InputException(
        where
            + ": "
            + key
            + ": "
            + expected
            + ", found "
            + (found.isMissingNode() ? "nothing" : text));
  }
}
