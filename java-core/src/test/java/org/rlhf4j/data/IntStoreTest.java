package org.rlhf4j.data;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.Arrays;
import java.util.List;
import java.util.SplittableRandom;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

class IntStoreTest {
  private static final int CHUNK = 1 << 20;

  /**
   * Runs of odd lengths across the chunks' ends, the first on the heap and the others in the file.
   */
  @Test
  void givesBackWhatWasAppendedAcrossChunksAndIntoTheFile() {
    IntStore store = new IntStore(1);
    int[] all = new SplittableRandom(3).ints(3 * CHUNK + 17).toArray();
    int at = 0;
    for (int length = 1; at < all.length; length = length * 3 + 1) {
      int end = Math.min(all.length, at + length);
      store.append(all, at, end);
      at = end;
    }
    store.append(42);
    assertEquals(all.length + 1, store.size());
    int[] back = new int[all.length];
    store.get(0, back, 0);
    assertArrayEquals(all, back);
    assertEquals(42, store.get(all.length));
    int[] across = new int[1001];
    store.get(2L * CHUNK - 500, across, 1);
    assertArrayEquals(
        Arrays.copyOfRange(all, 2 * CHUNK - 500, 2 * CHUNK + 500),
        Arrays.copyOfRange(across, 1, 1001));
    assertEquals(0, across[0]);
  }

  @Test
  void recordsComeBackAsTheyWere() {
    TokenisedList<Preference> pairs = new TokenisedList<>(Preference.FORM, 1);
    List<Preference> given =
        IntStream.range(0, 3000)
            .mapToObj(
                i -> {
                  int[] chosen = IntStream.range(0, 400 + i % 7).toArray();
                  int[] rejected = chosen.clone();
                  if (i % 3 > 0) { // every third pair is of two equal sides
                    rejected = Arrays.copyOf(rejected, 300 + i % 5);
                    rejected[i % 300] = -1;
                  }
                  return new Preference(
                      chosen, rejected, i % 250, i / 7f, (1L << 32) * (i % 2) + i);
                })
            .toList();
    pairs.addAll(given);
    assertEquals(given.size(), pairs.size());
    for (int i = given.size() - 1; i >= 0; i--) {
      Preference expected = given.get(i);
      Preference found = pairs.get(i);
      assertArrayEquals(expected.chosenIds(), found.chosenIds());
      assertArrayEquals(expected.rejectedIds(), found.rejectedIds());
      assertEquals(expected.promptLength(), found.promptLength());
      assertEquals(expected.margin(), found.margin());
      assertEquals(expected.line(), found.line());
    }
  }
}
