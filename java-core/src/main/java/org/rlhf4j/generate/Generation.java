package org.rlhf4j.generate;

/**
 * What came after one prompt.
 *
 * @param ids the new tokens, the ending one included
 */
public record Generation(int[] promptIds, int[] ids, Finish finish) {
  /** Why it ended. */
  public enum Finish {
    EOS,
    LENGTH
  }
}
