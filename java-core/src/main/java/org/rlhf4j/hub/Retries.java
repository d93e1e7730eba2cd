package org.rlhf4j.hub;

import java.io.IOException;
import java.time.Duration;
import java.util.Locale;
import java.util.Optional;

/**
 * Waits between the attempts at one thing, longer each time, and gives up after too many in a row
 * that brought nothing.
 */
final class Retries {
  private static final Duration LONGEST_WAIT = Duration.ofSeconds(30);

  /** A server that asks for more is not waited for. */
  private static final Duration LONGEST_RETRY_AFTER = Duration.ofMinutes(5);

  private final String what;
  private final HubSettings settings;
  private final HubProgress progress;
  private int failures;

  /**
   * @param what the file or the model, for messages
   */
  Retries(String what, HubSettings settings, HubProgress progress) {
    this.what = what;
    this.settings = settings;
    this.progress = progress;
  }

  /** Something new came: the connection is bad, not dead. */
  void progressed() {
    failures = 0;
  }

  /**
   * Waits for the next attempt.
   *
   * @throws HubException if there is to be none
   */
  void after(IOException failure) {
    failures++;
    String why = describe(failure);
    Optional<Duration> asked =
        failure instanceof Trouble trouble ? trouble.retryAfter() : Optional.empty();
    if (Thread.currentThread().isInterrupted()) {
      throw new HubException(what + ": interrupted");
    }
    if (failures >= settings.attempts()) {
      throw new HubException(what + ": " + why + ", " + failures + " times in a row", failure);
    }
    if (asked.filter(d -> d.compareTo(LONGEST_RETRY_AFTER) > 0).isPresent()) {
      throw new HubException(
          what + ": " + why + "; the server asks to wait " + asked.get().toSeconds() + " s",
          failure);
    }
    Duration wait = asked.orElseGet(this::backoff);
    progress.note(
        String.format(
            Locale.ROOT, "%s: %s; trying again in %.1f s", what, why, wait.toMillis() / 1000.0));
    try {
      Thread.sleep(wait);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new HubException(what + ": interrupted", e);
    }
  }

  private Duration backoff() {
    Duration wait = settings.firstWait().multipliedBy(1L << Math.min(20, failures - 1));
    return wait.compareTo(LONGEST_WAIT) > 0 ? LONGEST_WAIT : wait;
  }

  private static String describe(IOException failure) {
    if (failure instanceof Trouble) {
      return failure.getMessage();
    }
    if (failure instanceof java.net.ConnectException) {
      return "no connection to the server";
    }
    if (failure instanceof java.net.http.HttpTimeoutException) {
      return "the server does not answer";
    }
    return "the connection broke"
        + (failure.getMessage() == null ? "" : " (" + failure.getMessage() + ")");
  }
}
