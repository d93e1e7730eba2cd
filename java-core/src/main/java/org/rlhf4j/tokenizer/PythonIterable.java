package org.rlhf4j.tokenizer;

import com.hubspot.jinjava.interpret.JinjavaInterpreter;
import com.hubspot.jinjava.lib.exptest.ExpTest;
import java.util.Map;

/** The tests {@code iterable} and {@code sequence}: in Python a string passes both. */
record PythonIterable(String name) implements ExpTest {
  @Override
  public String getName() {
    return name;
  }

  @Override
  public boolean evaluate(Object value, JinjavaInterpreter interpreter, Object... args) {
    return value instanceof CharSequence
        || value instanceof Iterable<?>
        || value instanceof Map<?, ?>
        || value != null && value.getClass().isArray();
  }
}
