package org.rlhf4j.tokenizer.jinja;

import java.util.List;
import java.util.Locale;
import java.util.Map;

/** What stands behind {@code is}. */
final class Tests {
  private Tests() {}

  /** A test's answer about a value. */
  interface Test {
    boolean holds(Object value, List<Object> arguments);
  }

  private static final Map<String, Test> ALL =
      Map.ofEntries(
          Map.entry("defined", (v, a) -> !(v instanceof Undefined)),
          Map.entry("undefined", (v, a) -> v instanceof Undefined),
          Map.entry("none", (v, a) -> v == null),
          Map.entry("true", (v, a) -> Boolean.TRUE.equals(v)),
          Map.entry("false", (v, a) -> Boolean.FALSE.equals(v)),
          Map.entry("boolean", (v, a) -> v instanceof Boolean),
          Map.entry("string", (v, a) -> v instanceof String),
          Map.entry(
              "number", (v, a) -> v instanceof Long || v instanceof Double || v instanceof Boolean),
          Map.entry("integer", (v, a) -> v instanceof Long),
          Map.entry("float", (v, a) -> v instanceof Double),
          Map.entry("mapping", (v, a) -> v instanceof Map),
          Map.entry("sequence", Tests::iterable),
          Map.entry("iterable", Tests::iterable),
          Map.entry("callable", (v, a) -> v instanceof Function),
          Map.entry("odd", (v, a) -> Math.floorMod(Values.whole(v), 2) == 1),
          Map.entry("even", (v, a) -> Math.floorMod(Values.whole(v), 2) == 0),
          Map.entry("divisibleby", (v, a) -> Values.equal(Values.arithmetic("%", v, a.get(0)), 0L)),
          Map.entry("in", (v, a) -> Values.contains(a.get(0), v)),
          Map.entry("sameas", (v, a) -> v == a.get(0) || v != null && v.equals(a.get(0))),
          Map.entry(
              "lower", (v, a) -> Values.text(v).equals(Values.text(v).toLowerCase(Locale.ROOT))),
          Map.entry(
              "upper", (v, a) -> Values.text(v).equals(Values.text(v).toUpperCase(Locale.ROOT))),
          Map.entry("eq", (v, a) -> Values.equal(v, a.get(0))),
          Map.entry("ne", (v, a) -> !Values.equal(v, a.get(0))),
          Map.entry("lt", (v, a) -> Values.compare(v, a.get(0)) < 0),
          Map.entry("le", (v, a) -> Values.compare(v, a.get(0)) <= 0),
          Map.entry("gt", (v, a) -> Values.compare(v, a.get(0)) > 0),
          Map.entry("ge", (v, a) -> Values.compare(v, a.get(0)) >= 0));

  private static final Map<String, String> ALIASES =
      Map.of(
          "==",
          "eq",
          "equalto",
          "eq",
          "!=",
          "ne",
          "<",
          "lt",
          "lessthan",
          "lt",
          "<=",
          "le",
          ">",
          "gt",
          "greaterthan",
          "gt",
          ">=",
          "ge");

  private static boolean iterable(Object value, List<Object> arguments) {
    return value instanceof List
        || value instanceof Map
        || value instanceof String
        || value instanceof Undefined;
  }

  /** The test of that name, or a fault that says it is not known. */
  static Test named(String name) {
    String plain = ALIASES.getOrDefault(name, name.toLowerCase(Locale.ROOT));
    Test test = ALL.get(plain);
    if (test == null) {
      throw new JinjaException("No test named '" + name + "'.");
    }
    return (value, arguments) -> {
      try {
        return test.holds(value, arguments);
      } catch (IndexOutOfBoundsException e) {
        throw new JinjaException("test '" + name + "': an argument is missing");
      }
    };
  }
}
