package org.rlhf4j.hub;

/**
 * The network, the server or the disk failed, and what the user gave may well be right. The message
 * says what was kept and what to do.
 */
public final class HubException extends RuntimeException {
  private static final long serialVersionUID = 1L;

  HubException(String message) {
    super(message);
  }

  HubException(String message, Throwable cause) {
    super(message, cause);
  }
}
