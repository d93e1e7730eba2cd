package org.rlhf4j.report;

import java.io.IOException;
import java.nio.file.Path;

/** Writes files into a folder that exists and is empty. */
@FunctionalInterface
public interface FolderWriter {
  void write(Path folder) throws IOException;
}
