package org.rlhf4j.data;

import java.io.BufferedInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Locale;
import java.util.zip.GZIPInputStream;
import java.util.zip.ZipException;
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

  /**
   * Opens a file by its extension; anything but .json, .csv, .tsv and .parquet is JSON Lines. Texts
   * may be compressed: .gz behind the extension.
   */
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
    boolean compressed = name.endsWith(".gz");
    if (compressed) {
      name = name.substring(0, name.length() - 3);
    }
    for (TableSource.Format format : TableSource.Format.values()) {
      if (name.endsWith(format.extension)) {
        return new TableSource(file, format, compressed);
      }
    }
    return name.endsWith(".json")
        ? new JsonArraySource(file, text(file, compressed))
        : new JsonLinesSource(file, text(file, compressed));
  }

  private static InputStream text(Path file, boolean compressed) throws IOException {
    InputStream in = Files.newInputStream(file);
    if (!compressed) {
      return in;
    }
    try {
      return new GZIPInputStream(new BufferedInputStream(in), 1 << 16);
    } catch (ZipException e) {
      in.close();
      throw InputException.at(file, "expected a file compressed by gzip, as its name says");
    }
  }
}
