package org.rlhf4j.tokenizer;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.hubspot.jinjava.interpret.JinjavaInterpreter;
import com.hubspot.jinjava.lib.filter.AdvancedFilter;
import com.hubspot.jinjava.objects.PyWrapper;
import com.hubspot.jinjava.objects.collections.PyList;
import com.hubspot.jinjava.objects.collections.PyMap;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import org.rlhf4j.json.Json;

/**
 * {@code tojson} as transformers defines it: Python's {@code json.dumps(x, ensure_ascii=False,
 * indent=…)}.
 */
final class PythonJson implements AdvancedFilter {
  @Override
  public String getName() {
    return "tojson";
  }

  @Override
  public Object filter(
      Object value, JinjavaInterpreter interpreter, Object[] args, Map<String, Object> named) {
    Object indent = named.getOrDefault("indent", args.length > 1 ? args[1] : null);
    StringBuilder out = new StringBuilder();
    write(value, indent instanceof Number n ? n.intValue() : -1, 0, out);
    return out.toString();
  }

  private static void write(Object value, int indent, int depth, StringBuilder out) {
    if (value instanceof PyMap map) {
      write(map.toMap(), indent, depth, out);
    } else if (value instanceof PyList list) {
      write(list.toList(), indent, depth, out);
    } else if (value instanceof Map<?, ?> map) {
      Iterator<? extends Map.Entry<?, ?>> entries = map.entrySet().iterator();
      out.append('{');
      for (boolean first = true; entries.hasNext(); first = false) {
        Map.Entry<?, ?> entry = entries.next();
        separate(first, indent, depth + 1, out);
        scalar(String.valueOf(entry.getKey()), out);
        out.append(": ");
        write(entry.getValue(), indent, depth + 1, out);
      }
      end(map.isEmpty(), indent, depth, out);
      out.append('}');
    } else if (value instanceof List<?> list) {
      out.append('[');
      for (int i = 0; i < list.size(); i++) {
        separate(i == 0, indent, depth + 1, out);
        write(list.get(i), indent, depth + 1, out);
      }
      end(list.isEmpty(), indent, depth, out);
      out.append(']');
    } else {
      scalar(
          value instanceof PyWrapper || value instanceof CharSequence ? value.toString() : value,
          out);
    }
  }

  private static void separate(boolean first, int indent, int depth, StringBuilder out) {
    if (!first) {
      out.append(indent < 0 ? ", " : ",");
    }
    if (indent >= 0) {
      out.append('\n').append(" ".repeat(indent * depth));
    }
  }

  private static void end(boolean empty, int indent, int depth, StringBuilder out) {
    if (!empty && indent >= 0) {
      out.append('\n').append(" ".repeat(indent * depth));
    }
  }

  private static void scalar(Object value, StringBuilder out) {
    try {
      out.append(Json.MAPPER.writeValueAsString(value));
    } catch (JsonProcessingException e) {
      throw new IllegalArgumentException("tojson: " + e.getOriginalMessage(), e);
    }
  }
}
