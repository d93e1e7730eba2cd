package org.rlhf4j.bindings;

/**
 * A native call refused its arguments or failed. The message names op, argument, expected and
 * found.
 */
public final class NativeException extends RuntimeException {
  private static final long serialVersionUID = 1L;

  /** The values of {@code rl_status}, in order. */
  public enum Status {
    OK,
    INVALID_ARGUMENT,
    INVALID_HANDLE,
    OUT_OF_MEMORY,
    UNSUPPORTED,
    INTERNAL
  }

  private final Status status;

  public NativeException(Status status, String message) {
    super(message);
    this.status = status;
  }

  public Status status() {
    return status;
  }
}
