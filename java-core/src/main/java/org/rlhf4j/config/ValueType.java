package org.rlhf4j.config;

import java.math.BigDecimal;
import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;

/**
 * How the text of a value becomes a Java value; independent of the file format, so that 1e-4 is a
 * number everywhere.
 */
enum ValueType {
  /** {@code true|false}, also yes/no and on/off; {@link Boolean}. */
  FLAG("true or false"),
  /** A whole number of int range; {@link Integer}. */
  INTEGER("a whole number"),
  /** A whole number of long range; {@link Long}. */
  LONG("a whole number"),
  /** A finite number; {@link Double}. */
  NUMBER("a number"),
  /** One of the key's choices; {@link String}. */
  CHOICE("a word"),
  /** Any text, not empty; {@link String}. */
  TEXT("text"),
  /** One path or pattern; {@link String}. Or a list of them; a list of {@link String}. */
  PATHS("a path, or a list of paths"),
  /** Names, as a list or separated by commas; a list of {@link String}. */
  NAMES("a list of names, or names separated by commas"),
  /** {@link #NAMES}, or a regular expression, which is a {@link String}. */
  NAMES_OR_REGEX("names (a list, or separated by commas) or a regular expression"),
  /** Numbers by name or regular expression, {@code {q_proj: 4}}; a map to {@link Number}. */
  NUMBERS("numbers by name, as in {q_proj: 4, v_proj: 8}");

  private final String expected;

  ValueType(String expected) {
    this.expected = expected;
  }

  String expected() {
    return expected;
  }

  /**
   * The value that {@code raw}, a String, a list or a map of such, stands for.
   *
   * @throws IllegalArgumentException if it stands for none of this type; the message is not for the
   *     user
   */
  Object parse(Object raw) {
    if (raw instanceof List<?> list && (this == NAMES || this == NAMES_OR_REGEX || this == PATHS)) {
      return checked(list.stream().map(String::valueOf).toList());
    }
    if (raw instanceof Map<?, ?> map && this == NUMBERS) {
      Map<String, Number> numbers = new LinkedHashMap<>(); // their order counts
      map.forEach((name, value) -> numbers.put("" + name, wholeOrNot("" + value)));
      return Collections.unmodifiableMap(numbers);
    }
    if (!(raw instanceof String text) || text.isBlank()) {
      throw new IllegalArgumentException("" + raw);
    }
    String trimmed = text.strip();
    return switch (this) {
      case FLAG -> flag(trimmed);
      case INTEGER -> Math.toIntExact(whole(trimmed));
      case LONG -> whole(trimmed);
      case NUMBER -> number(trimmed);
      case CHOICE, TEXT -> trimmed;
      // A pattern may hold commas and brackets too: only brackets around it all make a list.
      case PATHS -> trimmed.matches("\\[.*]") ? names(trimmed) : trimmed;
      case NAMES -> names(trimmed);
      case NAMES_OR_REGEX -> isNames(trimmed) ? names(trimmed) : trimmed;
      case NUMBERS -> parse(YamlEntries.map(trimmed));
    };
  }

  private static boolean isNames(String text) {
    return text.startsWith("[") && text.endsWith("]") || text.matches("[\\w.,\\s'\"-]+");
  }

  private static Number wholeOrNot(String text) {
    double value = number(text.strip());
    return value == (int) value ? (Number) (int) value : (Number) value;
  }

  private static boolean flag(String text) {
    return switch (text.toLowerCase(Locale.ROOT)) {
      case "true", "yes", "on" -> true;
      case "false", "no", "off" -> false;
      default -> throw new IllegalArgumentException(text);
    };
  }

  private static long whole(String text) {
    try {
      return decimal(text).longValueExact();
    } catch (ArithmeticException e) {
      throw new IllegalArgumentException(text, e);
    }
  }

  private static double number(String text) {
    double value = decimal(text).doubleValue();
    if (Double.isInfinite(value)) {
      throw new IllegalArgumentException(text);
    }
    return value;
  }

  /** NumberFormatException is an IllegalArgumentException; neither nan, inf nor Java's 1f pass. */
  private static BigDecimal decimal(String text) {
    if (text.length() > 40) {
      throw new IllegalArgumentException(
          text); // also keeps 1e999999999 from becoming a very large integer
    }
    BigDecimal value = new BigDecimal(text.replaceAll("(?<=[0-9])_(?=[0-9])", ""));
    if (value.scale() < -400 || value.scale() > 400) {
      throw new IllegalArgumentException(text);
    }
    return value;
  }

  private static List<String> names(String text) {
    String inner =
        text.startsWith("[") && text.endsWith("]") ? text.substring(1, text.length() - 1) : text;
    List<String> names = new ArrayList<>();
    for (String part : inner.split(",", -1)) {
      String name = part.strip();
      if (name.length() > 1
          && "\"'".indexOf(name.charAt(0)) >= 0
          && name.endsWith(name.substring(0, 1))) {
        name = name.substring(1, name.length() - 1);
      }
      names.add(name);
    }
    return checked(names);
  }

  private static List<String> checked(List<String> names) {
    if (names.isEmpty() || names.stream().anyMatch(String::isBlank)) {
      throw new IllegalArgumentException(names.toString());
    }
    return List.copyOf(names);
  }
}
