package org.rlhf4j.tokenizer.jinja;

/**
 * A name or attribute that is not there: false, empty and without text, and a fault in every other
 * use.
 *
 * @param problem what the fault says: "'x' is undefined"
 */
record Undefined(String problem) {
  JinjaException fault() {
    return new JinjaException(problem);
  }
}
