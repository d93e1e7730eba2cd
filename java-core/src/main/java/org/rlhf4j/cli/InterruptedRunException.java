package org.rlhf4j.cli;

/** The user stopped a run; a checkpoint was written, and the message says where. */
final class InterruptedRunException extends RuntimeException {
  private static final long serialVersionUID = 1L;

  InterruptedRunException(String message) {
    super(message);
  }
}
