package org.rlhf4j;

import java.util.Collection;
import java.util.Comparator;
import java.util.List;
import java.util.stream.Collectors;

/**
 * Finds what the user probably meant, for error messages that name the nearest known key, tensor or
 * file.
 */
public final class Nearest {
  private Nearest() {}

  /**
   * The {@code limit} known names with the smallest edit distance to {@code wanted}, nearest first.
   * Names that share less than about half of their letters are left out, so the result may be
   * empty.
   */
  public static List<String> to(String wanted, Collection<String> known, int limit) {
    record Candidate(String name, int distance) {}
    return known.stream()
        .map(name -> new Candidate(name, distance(wanted, name)))
        .filter(c -> c.distance <= Math.max(2, Math.max(wanted.length(), c.name.length()) / 2))
        .sorted(Comparator.comparingInt(Candidate::distance).thenComparing(Candidate::name))
        .limit(limit)
        .map(Candidate::name)
        .toList();
  }

  /** {@code "; did you mean a, b?"}, or the empty string when nothing is near. */
  public static String hint(String wanted, Collection<String> known) {
    List<String> near = to(wanted, known, 3);
    return near.isEmpty()
        ? ""
        : near.stream().collect(Collectors.joining(", ", "; did you mean ", "?"));
  }

  /** Levenshtein distance in UTF-16 units. */
  private static int distance(String a, String b) {
    int[] row = new int[b.length() + 1];
    for (int j = 0; j < row.length; j++) {
      row[j] = j;
    }
    for (int i = 1; i <= a.length(); i++) {
      int diagonal = row[0];
      row[0] = i;
      for (int j = 1; j <= b.length(); j++) {
        int substituted = diagonal + (a.charAt(i - 1) == b.charAt(j - 1) ? 0 : 1);
        diagonal = row[j];
        row[j] = Math.min(substituted, Math.min(row[j], row[j - 1]) + 1);
      }
    }
    return row[b.length()];
  }
}
