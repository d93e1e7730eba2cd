package org.rlhf4j.tokenizer.jinja;

import java.math.BigDecimal;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;

/**
 * Python's values: null is None; otherwise Boolean, Long, Double, String, List, {@link Tuple}, Map,
 * {@link Function}, {@link Namespace} and {@link Undefined}.
 */
final class Values {
  /** The sandbox's limit on ranges; also that of a repeated text. */
  static final int LARGEST = 100_000;

  private Values() {}

  /** What {@code namespace()} makes: the one thing whose attributes can be set. */
  static final class Namespace {
    final Map<String, Object> attributes = new LinkedHashMap<>();
  }

  /** A list that is written with round brackets. */
  static final class Tuple extends ArrayList<Object> {
    private static final long serialVersionUID = 1L;

    static Tuple of(Object... items) {
      Tuple tuple = new Tuple();
      tuple.addAll(Arrays.asList(items));
      return tuple;
    }
  }

  /** Any Java value from outside as one of those above. */
  static Object from(Object value) {
    return switch (value) {
      case Integer i -> i.longValue();
      case Short i -> i.longValue();
      case Byte i -> i.longValue();
      case Float f -> f.doubleValue();
      case BigDecimal d -> d.doubleValue();
      case java.math.BigInteger i -> i.bitLength() < 64 ? (Object) i.longValue() : i.doubleValue();
      case Map<?, ?> map -> {
        Map<Object, Object> copy = new LinkedHashMap<>();
        map.forEach((k, v) -> copy.put(from(k), from(v)));
        yield copy;
      }
      case List<?> list -> {
        List<Object> copy = new ArrayList<>(list.size());
        list.forEach(v -> copy.add(from(v)));
        yield copy;
      }
      case null, default -> value;
    };
  }

  static String type(Object value) {
    return switch (value) {
      case null -> "NoneType";
      case Boolean b -> "bool";
      case Long l -> "int";
      case Double d -> "float";
      case String s -> "str";
      case List<?> l -> "list";
      case Map<?, ?> m -> "dict";
      case Undefined u -> "Undefined";
      case Namespace n -> "Namespace";
      default -> "function";
    };
  }

  static boolean truth(Object value) {
    return switch (value) {
      case null -> false;
      case Boolean b -> b;
      case Long l -> l != 0;
      case Double d -> d != 0;
      case String s -> !s.isEmpty();
      case List<?> l -> !l.isEmpty();
      case Map<?, ?> m -> !m.isEmpty();
      case Undefined u -> false;
      default -> true;
    };
  }

  /** {@code str(value)}. */
  static String text(Object value) {
    return switch (value) {
      case null -> "None";
      case String s -> s;
      case Undefined u -> "";
      default -> {
        StringBuilder out = new StringBuilder();
        repr(value, out);
        yield out.toString();
      }
    };
  }

  private static void repr(Object value, StringBuilder out) {
    switch (value) {
      case null -> out.append("None");
      case Boolean b -> out.append(b ? "True" : "False");
      case Double d -> out.append(number(d));
      case String s -> quoted(s, out);
      case List<?> list -> {
        boolean tuple = list instanceof Tuple;
        out.append(tuple ? '(' : '[');
        for (int i = 0; i < list.size(); i++) {
          out.append(i > 0 ? ", " : "");
          repr(list.get(i), out);
        }
        out.append(tuple ? (list.size() == 1 ? ",)" : ")") : "]");
      }
      case Map<?, ?> map -> {
        String separator = "{";
        for (Map.Entry<?, ?> entry : map.entrySet()) {
          out.append(separator);
          repr(entry.getKey(), out);
          out.append(": ");
          repr(entry.getValue(), out);
          separator = ", ";
        }
        out.append(map.isEmpty() ? "{}" : "}");
      }
      case Undefined u -> out.append("Undefined");
      case Long l -> out.append(l);
      default -> out.append('<').append(type(value)).append('>');
    }
  }

  private static void quoted(String s, StringBuilder out) {
    char quote = s.indexOf('\'') >= 0 && s.indexOf('"') < 0 ? '"' : '\'';
    out.append(quote);
    s.codePoints()
        .forEach(
            c -> {
              switch (c) {
                case '\n' -> out.append("\\n");
                case '\r' -> out.append("\\r");
                case '\t' -> out.append("\\t");
                case '\\' -> out.append("\\\\");
                default -> {
                  if (c == quote) {
                    out.append('\\').append(quote);
                  } else if (c < 0x20 || c == 0x7f) {
                    out.append(String.format("\\x%02x", c));
                  } else {
                    out.appendCodePoint(c);
                  }
                }
              }
            });
    out.append(quote);
  }

  /**
   * A float as Python writes it: the shortest digits, with an exponent from 1e16 and below 1e-4.
   */
  static String number(double value) {
    if (Double.isNaN(value)) {
      return "nan";
    }
    if (Double.isInfinite(value)) {
      return value > 0 ? "inf" : "-inf";
    }
    double size = Math.abs(value);
    if (size != 0 && (size >= 1e16 || size < 1e-4)) {
      String[] parts = Double.toString(value).split("E");
      int exponent = Integer.parseInt(parts[1]);
      return parts[0].replaceAll("\\.0$", "")
          + (exponent < 0 ? "e-" : "e+")
          + (Math.abs(exponent) < 10 ? "0" : "")
          + Math.abs(exponent);
    }
    String plain = new BigDecimal(Double.toString(value)).toPlainString();
    plain = plain.contains(".") ? plain : plain + ".0";
    return value == 0 && 1 / value < 0 ? "-0.0" : plain;
  }

  /** The elements that a loop goes over. */
  static List<Object> items(Object value) {
    return switch (value) {
      case List<?> list -> new ArrayList<>(list);
      case Map<?, ?> map -> new ArrayList<>(map.keySet());
      case String s -> new ArrayList<>(s.codePoints().mapToObj(Character::toString).toList());
      case Undefined u -> new ArrayList<>();
      case null, default ->
          throw new JinjaException("'" + type(value) + "' object is not iterable");
    };
  }

  static long length(Object value) {
    return switch (value) {
      case List<?> list -> list.size();
      case Map<?, ?> map -> map.size();
      case String s -> s.codePointCount(0, s.length());
      case Undefined u -> 0;
      case null, default ->
          throw new JinjaException("object of type '" + type(value) + "' has no len()");
    };
  }

  static long whole(Object value) {
    return switch (value) {
      case Long l -> l;
      case Boolean b -> b ? 1 : 0;
      case Undefined u -> throw u.fault();
      case null, default -> throw new JinjaException("expected int, found " + type(value));
    };
  }

  private static double real(Object value) {
    return value instanceof Double d ? d : whole(value);
  }

  private static boolean isNumber(Object value) {
    return value instanceof Long || value instanceof Double || value instanceof Boolean;
  }

  static boolean equal(Object a, Object b) {
    if (isNumber(a) && isNumber(b)) {
      return a instanceof Double || b instanceof Double ? real(a) == real(b) : whole(a) == whole(b);
    }
    if (a instanceof Undefined && b instanceof Undefined) {
      return true;
    }
    if (a instanceof List<?> x && b instanceof List<?> y) {
      if (x.size() != y.size()) {
        return false;
      }
      for (int i = 0; i < x.size(); i++) {
        if (!equal(x.get(i), y.get(i))) {
          return false;
        }
      }
      return true;
    }
    if (a instanceof Map<?, ?> x && b instanceof Map<?, ?> y) {
      return x.size() == y.size()
          && x.entrySet().stream()
              .allMatch(e -> y.containsKey(e.getKey()) && equal(e.getValue(), y.get(e.getKey())));
    }
    return Objects.equals(a, b);
  }

  /** Less than 0, 0 or more, as a is less than, equal to or more than b. */
  static int compare(Object a, Object b) {
    if (isNumber(a) && isNumber(b)) {
      return a instanceof Double || b instanceof Double
          ? Double.compare(real(a), real(b))
          : Long.compare(whole(a), whole(b));
    }
    if (a instanceof String x && b instanceof String y) {
      return x.compareTo(y);
    }
    if (a instanceof List<?> x && b instanceof List<?> y) {
      for (int i = 0; i < Math.min(x.size(), y.size()); i++) {
        int c = compare(x.get(i), y.get(i));
        if (c != 0) {
          return c;
        }
      }
      return Integer.compare(x.size(), y.size());
    }
    defined(a, b);
    throw new JinjaException(
        "'<' not supported between instances of '" + type(a) + "' and '" + type(b) + "'");
  }

  private static void defined(Object... values) {
    for (Object value : values) {
      if (value instanceof Undefined u) {
        throw u.fault();
      }
    }
  }

  static boolean contains(Object container, Object item) {
    return switch (container) {
      case String s when item instanceof String part -> s.contains(part);
      case List<?> list -> list.stream().anyMatch(e -> equal(e, item));
      case Map<?, ?> map -> map.containsKey(item);
      case Undefined u -> false;
      case null, default -> {
        defined(item);
        throw new JinjaException("argument of type '" + type(container) + "' is not iterable");
      }
    };
  }

  static Object arithmetic(String operator, Object a, Object b) {
    defined(a, b);
    if (operator.equals("+")) {
      if (a instanceof String x) {
        if (b instanceof String y) {
          return x + y;
        }
        throw new JinjaException("can only concatenate str (not \"" + type(b) + "\") to str");
      }
      if (a instanceof List<?> x && b instanceof List<?> y) {
        List<Object> both = x instanceof Tuple ? new Tuple() : new ArrayList<>();
        both.addAll(x);
        both.addAll(y);
        return both;
      }
    }
    if (operator.equals("*") && a instanceof Long n && (b instanceof String || b instanceof List)) {
      return repeat(b, n);
    }
    if (operator.equals("*") && b instanceof Long n && (a instanceof String || a instanceof List)) {
      return repeat(a, n);
    }
    if (!isNumber(a) || !isNumber(b)) {
      throw new JinjaException(
          "unsupported operand type(s) for "
              + operator
              + ": '"
              + type(a)
              + "' and '"
              + type(b)
              + "'");
    }
    boolean zero = "/ // %".contains(operator) && real(b) == 0;
    if (zero) {
      throw new JinjaException("division by zero");
    }
    if (operator.equals("/")) {
      return real(a) / real(b);
    }
    if (a instanceof Double || b instanceof Double) {
      double x = real(a);
      double y = real(b);
      return switch (operator) {
        case "+" -> x + y;
        case "-" -> x - y;
        case "*" -> x * y;
        case "//" -> Math.floor(x / y);
        case "%" -> x - y * Math.floor(x / y);
        default -> Math.pow(x, y);
      };
    }
    long x = whole(a);
    long y = whole(b);
    return switch (operator) {
      case "+" -> x + y;
      case "-" -> x - y;
      case "*" -> x * y;
      case "//" -> Math.floorDiv(x, y);
      case "%" -> Math.floorMod(x, y);
      default -> y < 0 ? (Object) Math.pow(x, y) : (Object) (long) Math.pow(x, y);
    };
  }

  private static Object repeat(Object value, long times) {
    if (times * Math.max(1, length(value)) > LARGEST) {
      throw new JinjaException("a repetition is too long");
    }
    int n = (int) Math.max(0, times);
    if (value instanceof String s) {
      return s.repeat(n);
    }
    List<Object> all = new ArrayList<>();
    for (int i = 0; i < n; i++) {
      all.addAll((List<?>) value);
    }
    return all;
  }

  /** {@code base.name}: an attribute or method first, then a key. */
  static Object attribute(Object base, String name) {
    Object found =
        switch (base) {
          case Undefined u -> throw u.fault();
          case Namespace n -> n.attributes.containsKey(name) ? n.attributes.get(name) : missing();
          case String s -> orMissing(Text.method(s, name));
          case Map<?, ?> map -> {
            Function method = method(map, name);
            yield method != null ? method : map.containsKey(name) ? map.get(name) : missing();
          }
          case List<?> list -> orMissing(method(list, name));
          case null, default -> missing();
        };
    return found != MISSING ? found : undefined(base, name);
  }

  private static final Object MISSING = new Object();

  private static Object missing() {
    return MISSING;
  }

  private static Object orMissing(Function method) {
    return method == null ? MISSING : method;
  }

  private static Undefined undefined(Object base, Object name) {
    return new Undefined(
        (base == null ? "'None'" : "'" + type(base) + " object'")
            + " has no attribute '"
            + text(name)
            + "'");
  }

  /** {@code base[key]}: an item first, then an attribute. */
  static Object item(Object base, Object key) {
    if (base instanceof Undefined u) {
      throw u.fault();
    }
    if (base instanceof Map<?, ?> map && map.containsKey(key)) {
      return map.get(key);
    }
    if (key instanceof Long index && (base instanceof List || base instanceof String)) {
      long size = length(base);
      long at = index < 0 ? index + size : index;
      if (at < 0 || at >= size) {
        return undefined(base, key);
      }
      if (base instanceof List<?> list) {
        return list.get((int) at);
      }
      String s = (String) base;
      return Character.toString(s.codePointAt(s.offsetByCodePoints(0, (int) at)));
    }
    return key instanceof String name && !(base instanceof Map)
        ? attribute(base, name)
        : undefined(base, key);
  }

  /** {@code base[from:to:step]}; null where left out. */
  static Object slice(Object base, Object from, Object to, Object step) {
    if (base instanceof Undefined u) {
      throw u.fault();
    }
    if (!(base instanceof List) && !(base instanceof String)) {
      throw new JinjaException("'" + type(base) + "' object cannot be sliced");
    }
    List<Object> all = items(base);
    long by = step == null ? 1 : whole(step);
    if (by == 0) {
      throw new JinjaException("slice step cannot be zero");
    }
    long low = by > 0 ? 0 : -1;
    long high = by > 0 ? all.size() : all.size() - 1;
    long at = from == null ? (by > 0 ? low : high) : clamp(whole(from), all.size(), low, high);
    long end = to == null ? (by > 0 ? high : low) : clamp(whole(to), all.size(), low, high);
    List<Object> part = new ArrayList<>();
    for (; by > 0 ? at < end : at > end; at += by) {
      part.add(all.get((int) at));
    }
    return base instanceof String ? Text.join("", part) : part;
  }

  private static long clamp(long index, int size, long low, long high) {
    return Math.max(low, Math.min(high, index < 0 ? index + size : index));
  }

  private static Function method(Map<?, ?> map, String name) {
    return switch (name) {
      case "items" -> (a, k) -> pairs(map);
      case "keys" -> (a, k) -> new ArrayList<Object>(map.keySet());
      case "values" -> (a, k) -> new ArrayList<Object>(map.values());
      case "copy" -> (a, k) -> new LinkedHashMap<Object, Object>(map);
      case "get" ->
          (a, k) -> map.containsKey(a.get(0)) ? map.get(a.get(0)) : a.size() > 1 ? a.get(1) : null;
      case "update", "pop", "setdefault", "clear", "popitem" -> unsafe(name);
      default -> null;
    };
  }

  static List<Object> pairs(Map<?, ?> map) {
    List<Object> pairs = new ArrayList<>();
    map.forEach((key, value) -> pairs.add(Tuple.of(key, value)));
    return pairs;
  }

  private static Function method(List<?> list, String name) {
    return switch (name) {
      case "copy" -> (a, k) -> new ArrayList<Object>(list);
      case "count" -> (a, k) -> list.stream().filter(e -> equal(e, a.get(0))).count();
      case "index" ->
          (a, k) -> {
            for (int i = 0; i < list.size(); i++) {
              if (equal(list.get(i), a.get(0))) {
                return (long) i;
              }
            }
            throw new JinjaException(text(a.get(0)) + " is not in list");
          };
      case "append", "extend", "insert", "pop", "remove", "reverse", "sort", "clear" ->
          unsafe(name);
      default -> null;
    };
  }

  /** The sandbox lets nobody change a list or dict. */
  private static Function unsafe(String name) {
    return (a, k) -> {
      throw new JinjaException("access to attribute '" + name + "' is unsafe.");
    };
  }
}
