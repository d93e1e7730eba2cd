package org.rlhf4j.tokenizer.jinja;

import java.util.HashMap;
import java.util.Map;

/** Variables of a template, a loop's turn or a macro, in front of those around it. */
final class Scope {
  private final Map<String, Object> variables = new HashMap<>();
  private final Scope around;

  Scope(Map<String, Object> variables) {
    this.variables.putAll(variables);
    this.around = null;
  }

  private Scope(Scope around) {
    this.around = around;
  }

  Scope inner() {
    return new Scope(this);
  }

  void set(String name, Object value) {
    variables.put(name, value);
  }

  Object get(String name) {
    for (Scope scope = this; scope != null; scope = scope.around) {
      Object value = scope.variables.get(name);
      if (value != null || scope.variables.containsKey(name)) {
        return value;
      }
    }
    return new Undefined("'" + name + "' is undefined");
  }
}
