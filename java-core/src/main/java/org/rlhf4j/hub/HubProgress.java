package org.rlhf4j.hub;

/** Told of a download as it goes on, by one thread at a time. */
public interface HubProgress {
  /** Tells nobody. */
  HubProgress NONE = new HubProgress() {};

  /**
   * A model's files are about to be downloaded.
   *
   * @param done bytes that are there already
   * @param total bytes of all files
   */
  default void begin(String model, long done, long total) {}

  /** {@code done} bytes are there; fewer than before where a part was found to be wrong. */
  default void at(long done) {}

  /** Something worth a line: an attempt that failed, another process that is waited for. */
  default void note(String text) {}

  /** The download that began has ended, well or not. */
  default void end() {}
}
