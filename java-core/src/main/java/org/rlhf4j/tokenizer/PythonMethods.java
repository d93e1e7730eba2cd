package org.rlhf4j.tokenizer;

import com.hubspot.jinjava.el.JinjavaInterpreterResolver;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import jinjava.javax.el.CompositeELResolver;
import jinjava.javax.el.ELContext;
import jinjava.javax.el.ELResolver;

/**
 * Python's methods of str and dict, which templates call: Java's of the same name differ, or are
 * missing.
 */
final class PythonMethods {
  /** jinjava's own resolver, with Python's methods in front of it. */
  static ELResolver resolver() {
    CompositeELResolver resolver =
        new CompositeELResolver() {
          @Override
          public Object invoke(
              ELContext context, Object base, Object method, Class<?>[] types, Object[] arguments) {
            Object result = call(base, String.valueOf(method), arguments);
            if (result != NOT_PYTHON) {
              context.setPropertyResolved(true);
              return result;
            }
            return super.invoke(context, base, method, types, arguments);
          }
        };
    resolver.add(JinjavaInterpreterResolver.DEFAULT_RESOLVER_READ_ONLY);
    return resolver;
  }

  private static final Object NOT_PYTHON = new Object();

  private PythonMethods() {}

  private static Object call(Object base, String method, Object[] a) {
    if (base instanceof Map<?, ?> map && method.equals("get") && a.length >= 1) {
      Object value = map.get(String.valueOf(a[0]));
      return value == null && !map.containsKey(String.valueOf(a[0])) && a.length > 1 ? a[1] : value;
    }
    if (!(base instanceof CharSequence)) {
      return NOT_PYTHON;
    }
    String s = base.toString();
    String first = a.length > 0 && a[0] != null ? a[0].toString() : null;
    return switch (method) {
      case "strip" -> rstrip(lstrip(s, first), first);
      case "lstrip" -> lstrip(s, first);
      case "rstrip" -> rstrip(s, first);
      case "startswith" -> affixes(a[0]).stream().anyMatch(s::startsWith);
      case "endswith" -> affixes(a[0]).stream().anyMatch(s::endsWith);
      case "upper" -> s.toUpperCase(Locale.ROOT);
      case "lower" -> s.toLowerCase(Locale.ROOT);
      case "title" -> title(s);
      case "capitalize" ->
          s.isEmpty()
              ? s
              : s.substring(0, 1).toUpperCase(Locale.ROOT)
                  + s.substring(1).toLowerCase(Locale.ROOT);
      case "replace" ->
          a.length > 2
              ? replace(s, first, a[1].toString(), ((Number) a[2]).intValue())
              : s.replace(first, a[1].toString());
      case "find" -> (long) s.indexOf(first);
      case "count" -> (long) (s.length() - s.replace(first, "").length()) / first.length();
      case "removeprefix" -> s.startsWith(first) ? s.substring(first.length()) : s;
      case "removesuffix" -> s.endsWith(first) ? s.substring(0, s.length() - first.length()) : s;
      case "split" -> split(s, first, a.length > 1 ? ((Number) a[1]).intValue() : -1);
      case "rsplit" -> rsplit(s, first, a.length > 1 ? ((Number) a[1]).intValue() : -1);
      case "splitlines" -> new ArrayList<>(s.lines().toList());
      case "isdigit" -> !s.isEmpty() && s.chars().allMatch(Character::isDigit);
      case "join" -> join(s, a[0]);
      default -> NOT_PYTHON;
    };
  }

  private static List<String> affixes(Object argument) {
    return argument instanceof Iterable<?> many ? strings(many) : List.of(String.valueOf(argument));
  }

  private static List<String> strings(Iterable<?> items) {
    List<String> result = new ArrayList<>();
    items.forEach(item -> result.add(String.valueOf(item)));
    return result;
  }

  private static String join(String separator, Object items) {
    return items instanceof Iterable<?> many
        ? String.join(separator, strings(many))
        : String.valueOf(items);
  }

  private static boolean strippable(char c, String characters) {
    return characters == null
        ? Character.isWhitespace(c) || c == '\u00a0' || c == '\u0085'
        : characters.indexOf(c) >= 0;
  }

  private static String lstrip(String s, String characters) {
    int from = 0;
    while (from < s.length() && strippable(s.charAt(from), characters)) {
      from++;
    }
    return s.substring(from);
  }

  private static String rstrip(String s, String characters) {
    int to = s.length();
    while (to > 0 && strippable(s.charAt(to - 1), characters)) {
      to--;
    }
    return s.substring(0, to);
  }

  private static String title(String s) {
    StringBuilder out = new StringBuilder();
    boolean inWord = false;
    for (char c : s.toCharArray()) {
      out.append(inWord ? Character.toLowerCase(c) : Character.toUpperCase(c));
      inWord = Character.isLetter(c);
    }
    return out.toString();
  }

  private static String replace(String s, String from, String to, int limit) {
    StringBuilder out = new StringBuilder();
    int at = 0;
    for (int i = 0; i < limit; i++) {
      int next = s.indexOf(from, at);
      if (next < 0) {
        break;
      }
      out.append(s, at, next).append(to);
      at = next + from.length();
    }
    return out.append(s.substring(at)).toString();
  }

  private static List<String> split(String s, String separator, int limit) {
    if (separator == null) {
      String bare = rstrip(lstrip(s, null), null);
      return bare.isEmpty()
          ? new ArrayList<>()
          : new ArrayList<>(Arrays.asList(bare.split("\\s+", limit < 0 ? 0 : limit + 1)));
    }
    List<String> parts = new ArrayList<>();
    int at = 0;
    for (int next;
        limit != parts.size() && (next = s.indexOf(separator, at)) >= 0;
        at = next + separator.length()) {
      parts.add(s.substring(at, next));
    }
    parts.add(s.substring(at));
    return parts;
  }

  private static List<String> rsplit(String s, String separator, int limit) {
    List<String> all = split(s, separator, -1);
    if (limit < 0 || all.size() <= limit + 1) {
      return all;
    }
    int joined = all.size() - limit;
    List<String> parts = new ArrayList<>();
    parts.add(String.join(separator == null ? " " : separator, all.subList(0, joined)));
    parts.addAll(all.subList(joined, all.size()));
    return parts;
  }
}
