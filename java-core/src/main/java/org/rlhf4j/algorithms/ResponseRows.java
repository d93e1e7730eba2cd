package org.rlhf4j.algorithms;

import java.util.List;

/**
 * Where the responses' tokens lie among packed rows. The row that predicts token i is the one
 * before it, and the value that judges token i is read there too.
 *
 * @param rows [N] of the packed sequences: the row before each response token
 * @param targets [N] the response tokens
 * @param starts [B+1] where each response begins among the N
 */
record ResponseRows(int[] rows, int[] targets, int[] starts) {
  static ResponseRows of(List<Trajectory> trajectories) {
    int n = trajectories.stream().mapToInt(t -> t.response().length).sum();
    int[] rows = new int[n];
    int[] targets = new int[n];
    int[] starts = new int[trajectories.size() + 1];
    int sequence = 0;
    int at = 0;
    for (int b = 0; b < trajectories.size(); b++) {
      Trajectory t = trajectories.get(b);
      for (int i = 0; i < t.response().length; i++) {
        rows[at] = sequence + t.query().length - 1 + i;
        targets[at++] = t.response()[i];
      }
      sequence += t.query().length + t.response().length;
      starts[b + 1] = at;
    }
    return new ResponseRows(rows, targets, starts);
  }

  int tokens() {
    return targets.length;
  }
}
