package org.rlhf4j;

import java.nio.file.Path;

/**
 * What the user gave is wrong: a flag, a configuration key, a line of data, a model file. The
 * launcher prints the message as it is and exits with code 2. The message says what is wrong,
 * where, what was expected and what was found.
 */
public final class InputException extends RuntimeException {
  private static final long serialVersionUID = 1L;

  public InputException(String message) {
    super(message);
  }

  public InputException(String message, Throwable cause) {
    super(message, cause);
  }

  /** {@code FILE: problem}. */
  public static InputException at(Path file, String problem) {
    return new InputException(file + ": " + problem);
  }

  /** {@code FILE:LINE: problem}; lines count from 1. */
  public static InputException at(Path file, long line, String problem) {
    return new InputException(file + ":" + line + ": " + problem);
  }
}
