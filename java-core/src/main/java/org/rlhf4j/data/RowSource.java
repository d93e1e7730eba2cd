package org.rlhf4j.data;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Locale;
import org.rlhf4j.InputException;

/** A data file's records, one after another. */
interface RowSource extends AutoCloseable {
  /**
   * The next record, or null after the last one. An InputException is about that record alone,
   * unless {@link #broken}: the next call goes on behind it.
   */
  Row next() throws IOException;

  /** True when nothing behind the last fault can be read, so that it cannot be skipped. */
  default boolean broken() {
    return false;
  }

  @Override
  void close() throws IOException;

  /** Opens a file by its extension; anything but .json, .csv and .parquet is JSON Lines. */
  static RowSource open(Path file) throws IOException {
    if (!Files.isRegularFile(file)) {
      throw InputException.at(
          file,
          Files.isDirectory(file) ? "expected a data file, found a folder" : "no such data file");
    }
    if (Files.size(file) == 0) {
      throw InputException.at(file, "expected at least one record, found an empty file");
    }
    String name = file.getFileName().toString().toLowerCase(Locale.ROOT);
    if (name.endsWith(".json")) {
      return new JsonArraySource(file);
    }
    if (name.endsWith(".csv") || name.endsWith(".parquet")) {
      return new TableSource(file, name.endsWith(".csv"));
    }
    return new JsonLinesSource(file);
  }
}
