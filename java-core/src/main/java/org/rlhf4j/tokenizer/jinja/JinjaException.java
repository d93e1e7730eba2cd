package org.rlhf4j.tokenizer.jinja;

/** A template that cannot be read, or that fails while it is rendered. */
public class JinjaException extends RuntimeException {
  private static final long serialVersionUID = 1L;

  public JinjaException(String message) {
    super(message);
  }
}
