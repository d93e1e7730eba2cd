package org.rlhf4j.algorithms;

import java.util.Arrays;

/**
 * A query and the response to it.
 *
 * @param response at least one token, the EOS included if there is one
 * @param eos whether the response ended with a stop token
 */
public record Trajectory(int[] query, int[] response, boolean eos) {
  public Trajectory {
    if (query.length == 0 || response.length == 0) {
      throw new IllegalArgumentException(
          "expected a query and a response of at least one token, found "
              + query.length
              + " and "
              + response.length);
    }
  }

  /** Query and response, one after the other. */
  public int[] ids() {
    int[] ids = Arrays.copyOf(query, query.length + response.length);
    System.arraycopy(response, 0, ids, query.length, response.length);
    return ids;
  }
}
