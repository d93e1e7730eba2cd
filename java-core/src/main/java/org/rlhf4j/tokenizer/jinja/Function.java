package org.rlhf4j.tokenizer.jinja;

import java.util.List;
import java.util.Map;

/** What a template can call: a macro, a method, or one of the caller's own functions. */
@FunctionalInterface
public interface Function {
  Object call(List<Object> arguments, Map<String, Object> named);
}
