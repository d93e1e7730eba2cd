package org.rlhf4j.algorithms;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.util.List;
import org.junit.jupiter.api.Test;

class ResponseRowsTest {
  @Test
  void rowsLieOneBeforeTheirTokens() {
    // Packed:  10 11 12 | 20 21      30 | 40 41 42
    // Rows:     0  1  2    3  4       5    6  7  8
    ResponseRows rows =
        ResponseRows.of(
            List.of(
                new Trajectory(new int[] {10, 11, 12}, new int[] {20, 21}, false),
                new Trajectory(new int[] {30}, new int[] {40, 41, 42}, true)));
    assertArrayEquals(new int[] {2, 3, 5, 6, 7}, rows.rows());
    assertArrayEquals(new int[] {20, 21, 40, 41, 42}, rows.targets());
    assertArrayEquals(new int[] {0, 2, 5}, rows.starts());
    assertEquals(5, rows.tokens());
  }

  @Test
  void anEmptyQueryOrResponseIsNoTrajectory() {
    int[] one = {1};
    assertThrows(IllegalArgumentException.class, () -> new Trajectory(new int[0], one, false));
    IllegalArgumentException e =
        assertThrows(IllegalArgumentException.class, () -> new Trajectory(one, new int[0], false));
    assertEquals(
        "expected a query and a response of at least one token, found 1 and 0", e.getMessage());
  }
}
