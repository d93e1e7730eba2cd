package org.rlhf4j.tokenizer.jinja;

import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/**
 * {@code tojson} as transformers defines it: Python's {@code json.dumps(x, ensure_ascii=False,
 * indent=…, separators=…, sort_keys=…)}.
 */
final class PythonJson {
  private final int indent;
  private final String itemSeparator;
  private final String keySeparator;
  private final boolean ascii;
  private final boolean sorted;
  private final StringBuilder out = new StringBuilder();

  private PythonJson(Filters.Arguments a) {
    Object wanted = a.get(1, "indent", null);
    indent = wanted == null ? -1 : (int) Math.max(0, Math.min(100, Values.whole(wanted)));
    boolean set = a.get(2, "separators", null) instanceof List<?> l && l.size() == 2;
    List<?> separators = set ? (List<?>) a.get(2, "separators", null) : null;
    itemSeparator = set ? Values.text(separators.get(0)) : indent < 0 ? ", " : ",";
    keySeparator = set ? Values.text(separators.get(1)) : ": ";
    ascii = a.flag(0, "ensure_ascii");
    sorted = a.flag(3, "sort_keys");
  }

  static Object filter(Object value, Filters.Arguments arguments) {
    PythonJson json = new PythonJson(arguments);
    json.write(value, 0);
    return json.out.toString();
  }

  private void write(Object value, int depth) {
    switch (value) {
      case Map<?, ?> map -> {
        Map<?, ?> ordered = sorted ? new TreeMap<Object, Object>(map) : map;
        Iterator<? extends Map.Entry<?, ?>> entries = ordered.entrySet().iterator();
        out.append('{');
        for (boolean first = true; entries.hasNext(); first = false) {
          Map.Entry<?, ?> entry = entries.next();
          separate(first, depth + 1);
          string(entry.getKey() instanceof String s ? s : key(entry.getKey()));
          out.append(keySeparator);
          write(entry.getValue(), depth + 1);
        }
        end(map.isEmpty(), depth);
        out.append('}');
      }
      case List<?> list -> {
        out.append('[');
        for (int i = 0; i < list.size(); i++) {
          separate(i == 0, depth + 1);
          write(list.get(i), depth + 1);
        }
        end(list.isEmpty(), depth);
        out.append(']');
      }
      case null -> out.append("null");
      case Boolean b -> out.append(b);
      case Long l -> out.append(l);
      case Double d ->
          out.append(Values.number(d).replace("inf", "Infinity").replace("nan", "NaN"));
      case String s -> string(s);
      default ->
          throw new JinjaException(
              "Object of type " + Values.type(value) + " is not JSON serializable");
    }
  }

  private static String key(Object key) {
    return key == null ? "null" : key instanceof Boolean b ? b.toString() : Values.text(key);
  }

  private void separate(boolean first, int depth) {
    if (!first) {
      out.append(itemSeparator);
    }
    if (indent >= 0) {
      out.append('\n').append(" ".repeat(indent * depth));
    }
  }

  private void end(boolean empty, int depth) {
    if (!empty && indent >= 0) {
      out.append('\n').append(" ".repeat(indent * depth));
    }
  }

  private void string(String text) {
    out.append('"');
    for (int i = 0; i < text.length(); i++) {
      char c = text.charAt(i);
      switch (c) {
        case '"' -> out.append("\\\"");
        case '\\' -> out.append("\\\\");
        case '\n' -> out.append("\\n");
        case '\r' -> out.append("\\r");
        case '\t' -> out.append("\\t");
        case '\b' -> out.append("\\b");
        case '\f' -> out.append("\\f");
        default -> {
          if (c < 0x20 || ascii && c > 0x7e) {
            out.append(String.format("\\u%04x", (int) c));
          } else {
            out.append(c);
          }
        }
      }
    }
    out.append('"');
  }
}
