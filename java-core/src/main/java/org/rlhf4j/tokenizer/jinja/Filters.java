package org.rlhf4j.tokenizer.jinja;

import java.util.ArrayList;
import java.util.Collections;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.function.Predicate;
import java.util.function.UnaryOperator;
import java.util.regex.Pattern;

/** What stands behind a bar. */
final class Filters {
  private Filters() {}

  /** A filter: a value and arguments to another value. */
  interface Filter {
    Object apply(Object value, Arguments arguments);
  }

  /** A filter's arguments, by place or by name. */
  record Arguments(List<Object> placed, Map<String, Object> named) {
    boolean has(int index, String name) {
      return index < placed.size() || named.containsKey(name);
    }

    Object get(int index, String name, Object byDefault) {
      return index >= 0 && index < placed.size()
          ? placed.get(index)
          : named.getOrDefault(name, byDefault);
    }

    String text(int index, String name, String byDefault) {
      Object value = get(index, name, byDefault);
      return value == null ? null : Values.text(value);
    }

    boolean flag(int index, String name) {
      return Values.truth(get(index, name, false));
    }

    Arguments from(int first) {
      return new Arguments(placed.subList(Math.min(first, placed.size()), placed.size()), named);
    }
  }

  private static final Map<String, Filter> ALL = new LinkedHashMap<>();

  static {
    ALL.put("trim", (v, a) -> strip(v, a.text(0, "chars", null)));
    ALL.put("upper", (v, a) -> Values.text(v).toUpperCase(Locale.ROOT));
    ALL.put("lower", (v, a) -> Values.text(v).toLowerCase(Locale.ROOT));
    ALL.put("title", (v, a) -> Text.title(Values.text(v)));
    ALL.put("capitalize", (v, a) -> Text.capitalize(Values.text(v)));
    ALL.put("string", (v, a) -> Values.text(v));
    ALL.put("safe", (v, a) -> Values.text(v));
    ALL.put("escape", (v, a) -> escape(Values.text(v)));
    ALL.put("e", (v, a) -> escape(Values.text(v)));
    ALL.put("length", (v, a) -> Values.length(v));
    ALL.put("count", (v, a) -> Values.length(v));
    ALL.put("wordcount", (v, a) -> (long) Values.text(v).strip().split("\\s+").length);
    ALL.put("default", Filters::orElse);
    ALL.put("d", Filters::orElse);
    ALL.put("join", Filters::join);
    ALL.put("replace", Filters::replace);
    ALL.put("indent", Filters::indent);
    ALL.put("first", (v, a) -> end(Values.items(v), true));
    ALL.put("last", (v, a) -> end(Values.items(v), false));
    ALL.put("list", (v, a) -> Values.items(v));
    ALL.put("items", (v, a) -> v instanceof Map<?, ?> m ? Values.pairs(m) : Values.items(v));
    ALL.put("dictsort", Filters::dictsort);
    ALL.put("reverse", Filters::reverse);
    ALL.put("sort", Filters::sort);
    ALL.put("unique", Filters::unique);
    ALL.put("map", Filters::map);
    ALL.put("select", (v, a) -> filtered(v, test(a, 0)));
    ALL.put("reject", (v, a) -> filtered(v, test(a, 0).negate()));
    ALL.put("selectattr", (v, a) -> filtered(v, attributeTest(a)));
    ALL.put("rejectattr", (v, a) -> filtered(v, attributeTest(a).negate()));
    ALL.put("groupby", Filters::groupBy);
    ALL.put("batch", Filters::batch);
    ALL.put("sum", Filters::sum);
    ALL.put("min", (v, a) -> extreme(v, a, -1));
    ALL.put("max", (v, a) -> extreme(v, a, 1));
    ALL.put(
        "abs",
        (v, a) ->
            v instanceof Double d ? (Object) Math.abs(d) : (Object) Math.abs(Values.whole(v)));
    ALL.put("int", (v, a) -> toInt(v, a.get(0, "default", 0L)));
    ALL.put("float", (v, a) -> toFloat(v, a.get(0, "default", 0.0)));
    ALL.put("round", Filters::round);
    ALL.put("attr", (v, a) -> Values.attribute(v, a.text(0, "name", "")));
    ALL.put("tojson", PythonJson::filter);
  }

  /** The filter of that name, or a fault that says it is not known. */
  static Filter named(String name) {
    Filter filter = ALL.get(name);
    if (filter == null) {
      throw new JinjaException("No filter named '" + name + "'.");
    }
    return filter;
  }

  private static Object strip(Object value, String characters) {
    return Text.rstrip(Text.lstrip(Values.text(value), characters), characters);
  }

  private static String escape(String s) {
    return s.replace("&", "&amp;")
        .replace("<", "&lt;")
        .replace(">", "&gt;")
        .replace("'", "&#39;")
        .replace("\"", "&#34;");
  }

  private static Object orElse(Object value, Arguments a) {
    boolean missing = value instanceof Undefined || a.flag(1, "boolean") && !Values.truth(value);
    return missing ? a.get(0, "default_value", "") : value;
  }

  private static Object join(Object value, Arguments a) {
    List<Object> items = Values.items(value);
    if (a.has(1, "attribute")) {
      UnaryOperator<Object> of = attribute(a.get(1, "attribute", null));
      items.replaceAll(of);
    }
    return Text.join(a.text(0, "d", ""), items);
  }

  private static Object replace(Object value, Arguments a) {
    Object count = a.get(2, "count", null);
    return Text.replace(
        Values.text(value),
        a.text(0, "old", ""),
        a.text(1, "new", ""),
        count == null ? -1 : (int) Values.whole(count));
  }

  private static Object indent(Object value, Arguments a) {
    Object width = a.get(0, "width", 4L);
    String by =
        width instanceof String s
            ? s
            : " ".repeat((int) Math.max(0, Math.min(1000, Values.whole(width))));
    boolean blank = a.flag(2, "blank");
    StringBuilder out = new StringBuilder();
    String[] lines = Values.text(value).split("\n", -1);
    for (int i = 0; i < lines.length; i++) {
      boolean indented = i == 0 ? a.flag(1, "first") : blank || !lines[i].isEmpty();
      out.append(i > 0 ? "\n" : "").append(indented ? by : "").append(lines[i]);
    }
    return out.toString();
  }

  private static Object end(List<Object> items, boolean first) {
    if (items.isEmpty()) {
      return new Undefined("No " + (first ? "first" : "last") + " item, sequence was empty.");
    }
    return first ? items.getFirst() : items.getLast();
  }

  private static Object reverse(Object value, Arguments a) {
    if (value instanceof String s) {
      return new StringBuilder(s).reverse().toString();
    }
    List<Object> items = Values.items(value);
    Collections.reverse(items);
    return items;
  }

  /** "a.b.0" of each, as filters name attributes. */
  private static UnaryOperator<Object> attribute(Object path) {
    if (path instanceof Long index) {
      return value -> Values.item(value, index);
    }
    String[] parts = Values.text(path).split("\\.");
    return value -> {
      for (String part : parts) {
        boolean index = part.matches("[0-9]{1,9}");
        value = Values.item(value, index ? (Object) Long.valueOf(part) : part);
      }
      return value;
    };
  }

  /** Texts that differ in case only are the same, unless the arguments say otherwise. */
  private static Object folded(Object value, boolean caseSensitive) {
    return value instanceof String s && !caseSensitive ? s.toLowerCase(Locale.ROOT) : value;
  }

  private static Object sort(Object value, Arguments a) {
    boolean exact = a.flag(1, "case_sensitive");
    UnaryOperator<Object> of =
        a.has(2, "attribute") ? attribute(a.get(2, "attribute", null)) : x -> x;
    List<Object> items = Values.items(value);
    Comparator<Object> order =
        (x, y) -> Values.compare(folded(of.apply(x), exact), folded(of.apply(y), exact));
    items.sort(a.flag(0, "reverse") ? order.reversed() : order);
    return items;
  }

  private static Object dictsort(Object value, Arguments a) {
    if (!(value instanceof Map<?, ?> map)) {
      throw new JinjaException("dictsort: expected dict, found " + Values.type(value));
    }
    boolean exact = a.flag(0, "case_sensitive");
    int by = a.text(1, "by", "key").equals("value") ? 1 : 0;
    List<Object> pairs = Values.pairs(map);
    Comparator<Object> order =
        (x, y) ->
            Values.compare(
                folded(((List<?>) x).get(by), exact), folded(((List<?>) y).get(by), exact));
    pairs.sort(a.flag(2, "reverse") ? order.reversed() : order);
    return pairs;
  }

  private static Object unique(Object value, Arguments a) {
    boolean exact = a.flag(0, "case_sensitive");
    UnaryOperator<Object> of =
        a.has(1, "attribute") ? attribute(a.get(1, "attribute", null)) : x -> x;
    List<Object> seen = new ArrayList<>();
    return filtered(
        value,
        item -> {
          Object key = folded(of.apply(item), exact);
          boolean fresh = seen.stream().noneMatch(s -> Values.equal(s, key));
          seen.add(key);
          return fresh;
        });
  }

  private static Object map(Object value, Arguments a) {
    List<Object> items = Values.items(value);
    if (a.named.containsKey("attribute")) {
      UnaryOperator<Object> of = attribute(a.named.get("attribute"));
      items.replaceAll(
          item -> {
            Object found = of.apply(item);
            return found instanceof Undefined && a.named.containsKey("default")
                ? a.named.get("default")
                : found;
          });
      return items;
    }
    Filter filter = named(a.text(0, "filter", ""));
    Arguments rest = a.from(1);
    items.replaceAll(item -> filter.apply(item, rest));
    return items;
  }

  private static List<Object> filtered(Object value, Predicate<Object> keep) {
    List<Object> items = Values.items(value);
    items.removeIf(keep.negate());
    return items;
  }

  private static Predicate<Object> test(Arguments a, int first) {
    if (a.placed.size() <= first) {
      return Values::truth;
    }
    Tests.Test test = Tests.named(Values.text(a.placed.get(first)));
    List<Object> rest = a.from(first + 1).placed;
    return value -> test.holds(value, rest);
  }

  private static Predicate<Object> attributeTest(Arguments a) {
    UnaryOperator<Object> of = attribute(a.get(0, "attribute", ""));
    Predicate<Object> test = test(a, 1);
    return value -> test.test(of.apply(value));
  }

  private static Object groupBy(Object value, Arguments a) {
    UnaryOperator<Object> of = attribute(a.get(0, "attribute", ""));
    List<Object> items = Values.items(value);
    items.sort((x, y) -> Values.compare(folded(of.apply(x), false), folded(of.apply(y), false)));
    List<Object> groups = new ArrayList<>();
    List<Object> group = null;
    Object key = null;
    for (Object item : items) {
      Object own = of.apply(item);
      if (group == null || !Values.equal(folded(own, false), folded(key, false))) {
        group = new ArrayList<>();
        key = own;
        groups.add(Values.Tuple.of(own, group));
      }
      group.add(item);
    }
    return groups;
  }

  private static Object batch(Object value, Arguments a) {
    int size = (int) Math.max(1, Values.whole(a.get(0, "linecount", 1L)));
    List<Object> items = Values.items(value);
    List<Object> all = new ArrayList<>();
    for (int from = 0; from < items.size(); from += size) {
      List<Object> part = new ArrayList<>(items.subList(from, Math.min(items.size(), from + size)));
      while (part.size() < size && a.has(1, "fill_with")) {
        part.add(a.get(1, "fill_with", null));
      }
      all.add(part);
    }
    return all;
  }

  private static Object sum(Object value, Arguments a) {
    UnaryOperator<Object> of =
        a.has(0, "attribute") ? attribute(a.get(0, "attribute", null)) : x -> x;
    Object total = a.get(1, "start", 0L);
    for (Object item : Values.items(value)) {
      total = Values.arithmetic("+", total, of.apply(item));
    }
    return total;
  }

  private static Object extreme(Object value, Arguments a, int sign) {
    boolean exact = a.flag(0, "case_sensitive");
    return Values.items(value).stream()
        .reduce((x, y) -> sign * Values.compare(folded(y, exact), folded(x, exact)) > 0 ? y : x)
        .orElseGet(() -> new Undefined("No aggregated item, sequence was empty."));
  }

  private static final Pattern FLOAT =
      Pattern.compile("\\s*[+-]?([0-9]+\\.?[0-9]*|\\.[0-9]+)([eE][+-]?[0-9]+)?\\s*");

  private static Object toInt(Object value, Object byDefault) {
    return switch (value) {
      case Long l -> l;
      case Boolean b -> b ? 1L : 0L;
      case Double d -> (long) (double) d;
      case String s when FLOAT.matcher(s).matches() -> (long) Double.parseDouble(s.strip());
      case null, default -> byDefault;
    };
  }

  private static Object toFloat(Object value, Object byDefault) {
    return switch (value) {
      case Long l -> (double) l;
      case Boolean b -> b ? 1.0 : 0.0;
      case Double d -> d;
      case String s when FLOAT.matcher(s).matches() -> Double.parseDouble(s.strip());
      case null, default -> byDefault;
    };
  }

  private static Object round(Object value, Arguments a) {
    double factor = Math.pow(10, Values.whole(a.get(0, "precision", 0L)));
    double scaled = (value instanceof Double d ? d : (double) Values.whole(value)) * factor;
    return switch (a.text(1, "method", "common")) {
          case "ceil" -> Math.ceil(scaled);
          case "floor" -> Math.floor(scaled);
          default -> Math.rint(scaled);
        }
        / factor;
  }
}
