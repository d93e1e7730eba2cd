package org.rlhf4j.data;

import java.io.IOException;
import java.nio.file.FileSystems;
import java.nio.file.Files;
import java.nio.file.InvalidPathException;
import java.nio.file.Path;
import java.nio.file.PathMatcher;
import java.util.ArrayList;
import java.util.Collection;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import java.util.TreeSet;
import java.util.regex.Pattern;
import java.util.regex.PatternSyntaxException;
import java.util.stream.Stream;
import org.rlhf4j.InputException;

/**
 * The files that {@code data} names, in the order in which they are read: a file; a folder, which
 * means every data file in it and below it, by name; a glob ({@code data/*.parquet}, {@code
 * data/**}{@code /*.jsonl}); or a list of these.
 *
 * @param name what messages about the whole say
 * @param files at least one; no file twice
 */
public record DataFiles(String name, List<Path> files) {
  private static final Pattern KNOWN =
      Pattern.compile(".*\\.((jsonl|ndjson|json|csv|tsv)(\\.gz)?|parquet)");

  /** What stands beside the data in folders that other tools write. */
  private static final Set<String> NOT_DATA =
      Set.of(
          "dataset_info.json",
          "dataset_infos.json",
          "dataset_dict.json",
          "state.json",
          "config.json");

  /** The words for a part of a data set, as a whole word of a file's or a folder's name. */
  private static final Pattern SPLIT =
      Pattern.compile("(?<![a-z0-9])(train|test|validation|valid|val|dev|eval)(?![a-z0-9])");

  /** One path or pattern. */
  public static DataFiles of(Path path) {
    return of(List.of(path.toString()), null);
  }

  /**
   * Finds the files.
   *
   * @param patterns files, folders and globs
   * @param split take only files of that part ("train"), by a word in their names or their
   *     folder's; null: all, which must then be one part
   * @throws InputException when one of them names nothing, or a folder holds several parts and none
   *     was chosen
   */
  public static DataFiles of(List<String> patterns, String split) {
    Set<Path> found = new LinkedHashSet<>();
    for (String pattern : patterns) {
      List<Path> some = find(pattern);
      boolean named = some.size() == 1 && some.get(0).equals(path(pattern));
      if (split != null && !named) {
        List<Path> chosen = some.stream().filter(f -> splitOf(pattern, f).contains(split)).toList();
        if (chosen.isEmpty()) {
          throw new InputException(
              pattern
                  + ": expected data files of the split '"
                  + split
                  + "', found "
                  + names(some)
                  + " of "
                  + splits(pattern, some));
        }
        some = chosen;
      }
      if (split == null && !named && splits(pattern, some).size() > 1) {
        throw new InputException(
            pattern
                + ": holds several splits, "
                + splits(pattern, some)
                + ": choose one with data_split, or name the files");
      }
      found.addAll(some);
    }
    String name = String.join(", ", patterns);
    return new DataFiles(
        found.size() > patterns.size() ? name + " (" + found.size() + " files)" : name,
        List.copyOf(found));
  }

  /** Whether the name ends like that of a data file. */
  static boolean isKnown(Path file) {
    String name = file.getFileName().toString().toLowerCase(Locale.ROOT);
    return KNOWN.matcher(name).matches() && !NOT_DATA.contains(name) && !name.startsWith(".");
  }

  private static List<Path> find(String pattern) {
    Path path = path(pattern);
    if (path != null && Files.isDirectory(path)) {
      List<Path> files = walk(path).stream().filter(DataFiles::isKnown).toList();
      if (files.isEmpty()) {
        throw InputException.at(
            path,
            "expected data files (.jsonl, .ndjson, .json, .csv, .tsv, .parquet, or these texts with"
                + " .gz) in the folder, found none");
      }
      return files;
    }
    if (path != null && Files.exists(path)) {
      return List.of(path);
    }
    if (!pattern.matches(".*[*?\\[{].*")) {
      throw new InputException(pattern + ": no such data file");
    }
    return glob(pattern);
  }

  private static List<Path> glob(String pattern) {
    String[] parts = pattern.split("/", -1);
    StringBuilder fixed = new StringBuilder(pattern.startsWith("/") ? "/" : "");
    for (String part : parts) {
      if (part.matches(".*[*?\\[{].*")) {
        break;
      }
      fixed.append(part).append(part.isEmpty() ? "" : "/");
    }
    Path root = Path.of(fixed.toString());
    String shown = fixed.isEmpty() ? "the working folder" : fixed.toString();
    if (!Files.isDirectory(root)) {
      throw new InputException(pattern + ": no such folder: " + shown);
    }
    List<PathMatcher> matchers = new ArrayList<>();
    try {
      String rest = pattern.substring(fixed.length());
      matchers.add(FileSystems.getDefault().getPathMatcher("glob:" + rest));
      // As in a shell, ** also stands for no folder at all.
      matchers.add(FileSystems.getDefault().getPathMatcher("glob:" + rest.replace("**/", "")));
    } catch (PatternSyntaxException e) {
      throw new InputException(pattern + ": not a pattern: " + e.getDescription(), e);
    }
    List<Path> files =
        walk(root).stream()
            .filter(f -> matchers.stream().anyMatch(m -> m.matches(root.relativize(f))))
            .toList();
    if (files.isEmpty()) {
      throw new InputException(pattern + ": expected at least one file, found none in " + shown);
    }
    return files;
  }

  /** Every file that is not hidden, by name. */
  private static List<Path> walk(Path root) {
    try (Stream<Path> all = Files.walk(root)) {
      return all.filter(Files::isRegularFile)
          .filter(f -> !root.relativize(f).toString().matches("(.*/)?\\..*"))
          .sorted()
          .toList();
    } catch (IOException e) {
      throw new InputException(root + ": cannot be listed: " + e.getMessage(), e);
    }
  }

  private static Set<String> splits(String pattern, Collection<Path> files) {
    Set<String> all = new TreeSet<>();
    files.forEach(f -> all.addAll(splitOf(pattern, f)));
    return all;
  }

  /** The split that a name found by {@code pattern} says; a word that the user typed says none. */
  private static Set<String> splitOf(String pattern, Path file) {
    Path root = path(pattern);
    boolean folder = root != null && Files.isDirectory(root);
    String name = (folder ? root.relativize(file) : file.getFileName()).toString();
    Set<String> words = new TreeSet<>();
    SPLIT
        .matcher(name.toLowerCase(Locale.ROOT).replace('_', '-'))
        .results()
        .forEach(m -> words.add(m.group(1)));
    return words;
  }

  private static Path path(String pattern) {
    try {
      return Path.of(pattern);
    } catch (InvalidPathException e) {
      return null;
    }
  }

  private static String names(List<Path> files) {
    return files.size() + (files.size() == 1 ? " file" : " files");
  }
}
