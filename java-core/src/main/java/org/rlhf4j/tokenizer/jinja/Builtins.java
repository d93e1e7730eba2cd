package org.rlhf4j.tokenizer.jinja;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** The functions that every template has. */
final class Builtins {
  private Builtins() {}

  static final Map<String, Function> ALL =
      Map.of("range", Builtins::range, "namespace", Builtins::namespace, "dict", Builtins::dict);

  private static Object range(List<Object> a, Map<String, Object> named) {
    long from = a.size() > 1 ? Values.whole(a.get(0)) : 0;
    long to = Values.whole(a.get(a.size() > 1 ? 1 : 0));
    long step = a.size() > 2 ? Values.whole(a.get(2)) : 1;
    if (step == 0) {
      throw new JinjaException("range() arg 3 must not be zero");
    }
    List<Object> numbers = new ArrayList<>();
    for (long i = from; step > 0 ? i < to : i > to; i += step) {
      if (numbers.size() == Values.LARGEST) {
        throw new JinjaException("Range too big. The sandbox blocks ranges larger than 100000.");
      }
      numbers.add(i);
    }
    return numbers;
  }

  private static Object namespace(List<Object> a, Map<String, Object> named) {
    Values.Namespace made = new Values.Namespace();
    if (!a.isEmpty() && a.get(0) instanceof Map<?, ?> map) {
      map.forEach((k, v) -> made.attributes.put(Values.text(k), v));
    }
    made.attributes.putAll(named);
    return made;
  }

  private static Object dict(List<Object> a, Map<String, Object> named) {
    Map<Object, Object> map = new LinkedHashMap<>();
    if (!a.isEmpty() && a.get(0) instanceof Map<?, ?> other) {
      map.putAll(other);
    }
    map.putAll(named);
    return map;
  }
}
