package org.rlhf4j.tokenizer.jinja;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;

/** Python's methods of str: Java's of the same name differ, or are missing. */
final class Text {
  private Text() {}

  /** The method, or null when str has none of that name. */
  static Function method(String s, String name) {
    return switch (name) {
      case "strip" -> (a, k) -> rstrip(lstrip(s, text(a, 0)), text(a, 0));
      case "lstrip" -> (a, k) -> lstrip(s, text(a, 0));
      case "rstrip" -> (a, k) -> rstrip(s, text(a, 0));
      case "startswith" -> (a, k) -> affixes(a.get(0)).stream().anyMatch(s::startsWith);
      case "endswith" -> (a, k) -> affixes(a.get(0)).stream().anyMatch(s::endsWith);
      case "upper" -> (a, k) -> s.toUpperCase(Locale.ROOT);
      case "lower" -> (a, k) -> s.toLowerCase(Locale.ROOT);
      case "title" -> (a, k) -> title(s);
      case "capitalize" -> (a, k) -> capitalize(s);
      case "replace" -> (a, k) -> replace(s, text(a, 0), text(a, 1), limit(a, 2, k, "count"));
      case "find" -> (a, k) -> points(s, s.indexOf(text(a, 0)));
      case "rfind" -> (a, k) -> points(s, s.lastIndexOf(text(a, 0)));
      case "count" -> (a, k) -> (long) split(s, text(a, 0), -1).size() - 1;
      case "removeprefix" ->
          (a, k) -> s.startsWith(text(a, 0)) ? s.substring(text(a, 0).length()) : s;
      case "removesuffix" ->
          (a, k) -> s.endsWith(text(a, 0)) ? s.substring(0, s.length() - text(a, 0).length()) : s;
      case "split" -> (a, k) -> split(s, separator(a, k), limit(a, 1, k, "maxsplit"));
      case "rsplit" -> (a, k) -> rsplit(s, separator(a, k), limit(a, 1, k, "maxsplit"));
      case "partition" -> (a, k) -> partition(s, text(a, 0), s.indexOf(text(a, 0)), false);
      case "rpartition" -> (a, k) -> partition(s, text(a, 0), s.lastIndexOf(text(a, 0)), true);
      case "splitlines" -> (a, k) -> new ArrayList<Object>(s.lines().toList());
      case "join" -> (a, k) -> join(s, a.get(0));
      case "isdigit", "isnumeric", "isdecimal" ->
          (a, k) -> !s.isEmpty() && s.codePoints().allMatch(Character::isDigit);
      case "isalpha" -> (a, k) -> !s.isEmpty() && s.codePoints().allMatch(Character::isLetter);
      case "isalnum" ->
          (a, k) -> !s.isEmpty() && s.codePoints().allMatch(Character::isLetterOrDigit);
      case "isspace" -> (a, k) -> !s.isEmpty() && s.chars().allMatch(c -> space((char) c));
      case "isupper" ->
          (a, k) -> s.equals(s.toUpperCase(Locale.ROOT)) && !s.equals(s.toLowerCase(Locale.ROOT));
      case "islower" ->
          (a, k) -> s.equals(s.toLowerCase(Locale.ROOT)) && !s.equals(s.toUpperCase(Locale.ROOT));
      default -> null;
    };
  }

  /** The text at {@code index}; null where there is none or None. */
  private static String text(List<Object> arguments, int index) {
    Object value = index < arguments.size() ? arguments.get(index) : null;
    if (value != null && !(value instanceof String)) {
      throw new JinjaException("expected str, found " + Values.type(value));
    }
    return (String) value;
  }

  private static String separator(List<Object> arguments, java.util.Map<String, Object> named) {
    return named.containsKey("sep") ? (String) named.get("sep") : text(arguments, 0);
  }

  private static int limit(
      List<Object> arguments, int index, java.util.Map<String, Object> named, String name) {
    Object value = index < arguments.size() ? arguments.get(index) : named.get(name);
    return value == null ? -1 : (int) Values.whole(value);
  }

  private static List<String> affixes(Object argument) {
    List<String> all = new ArrayList<>();
    if (argument instanceof List<?> many) {
      many.forEach(m -> all.add(Values.text(m)));
    } else {
      all.add(Values.text(argument));
    }
    return all;
  }

  /** An index in UTF-16 units as one in characters. */
  private static long points(String s, int index) {
    return index < 0 ? -1 : s.codePointCount(0, index);
  }

  static boolean space(char c) {
    return Character.isWhitespace(c) || Character.isSpaceChar(c) || c == '\u0085';
  }

  private static boolean strippable(char c, String characters) {
    return characters == null ? space(c) : characters.indexOf(c) >= 0;
  }

  static String lstrip(String s, String characters) {
    int from = 0;
    while (from < s.length() && strippable(s.charAt(from), characters)) {
      from++;
    }
    return s.substring(from);
  }

  static String rstrip(String s, String characters) {
    int to = s.length();
    while (to > 0 && strippable(s.charAt(to - 1), characters)) {
      to--;
    }
    return s.substring(0, to);
  }

  static String capitalize(String s) {
    return s.isEmpty()
        ? s
        : s.substring(0, 1).toUpperCase(Locale.ROOT) + s.substring(1).toLowerCase(Locale.ROOT);
  }

  static String title(String s) {
    StringBuilder out = new StringBuilder();
    boolean inWord = false;
    for (char c : s.toCharArray()) {
      out.append(inWord ? Character.toLowerCase(c) : Character.toUpperCase(c));
      inWord = Character.isLetter(c);
    }
    return out.toString();
  }

  static String replace(String s, String from, String to, int limit) {
    return limit < 0
        ? s.replace(from, to)
        : String.join(to, split(s, from, limit).stream().map(String.class::cast).toList());
  }

  static String join(String separator, Object items) {
    List<String> parts = new ArrayList<>();
    Values.items(items).forEach(i -> parts.add(Values.text(i)));
    return String.join(separator, parts);
  }

  private static List<Object> split(String s, String separator, int limit) {
    if (separator == null) {
      String bare = rstrip(lstrip(s, null), null);
      return bare.isEmpty()
          ? new ArrayList<>()
          : new ArrayList<>(
              Arrays.asList((Object[]) bare.split("\\s+", limit < 0 ? 0 : limit + 1)));
    }
    if (separator.isEmpty()) {
      throw new JinjaException("empty separator");
    }
    List<Object> parts = new ArrayList<>();
    int at = 0;
    for (int next;
        limit != parts.size() && (next = s.indexOf(separator, at)) >= 0;
        at = next + separator.length()) {
      parts.add(s.substring(at, next));
    }
    parts.add(s.substring(at));
    return parts;
  }

  private static List<Object> rsplit(String s, String separator, int limit) {
    List<Object> all = split(s, separator, -1);
    if (limit < 0 || all.size() <= limit + 1) {
      return all;
    }
    int joined = all.size() - limit;
    List<Object> parts = new ArrayList<>();
    parts.add(join(separator == null ? " " : separator, all.subList(0, joined)));
    parts.addAll(all.subList(joined, all.size()));
    return parts;
  }

  private static List<Object> partition(String s, String separator, int at, boolean last) {
    if (at < 0) {
      return last ? Values.Tuple.of("", "", s) : Values.Tuple.of(s, "", "");
    }
    return Values.Tuple.of(s.substring(0, at), separator, s.substring(at + separator.length()));
  }
}
