package org.rlhf4j.hub;

import java.io.IOException;
import java.time.Duration;
import java.util.Optional;

/** An attempt failed in a way that may pass: the server was busy, or the connection broke. */
final class Trouble extends IOException {
  private static final long serialVersionUID = 1L;

  private final transient Optional<Duration> retryAfter;

  Trouble(String message, Optional<Duration> retryAfter) {
    super(message);
    this.retryAfter = retryAfter;
  }

  /** How long the server asks to be left alone. */
  Optional<Duration> retryAfter() {
    return retryAfter;
  }
}
