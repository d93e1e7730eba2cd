package org.rlhf4j.checkpoint;

import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import org.rlhf4j.InputException;

/** A whole file, mapped read-only. Any thread may read it; closing unmaps it. */
final class MappedFile implements AutoCloseable {
  final Path path;
  final MemorySegment bytes;
  private final Arena arena;

  private MappedFile(Path path, Arena arena, MemorySegment bytes) {
    this.path = path;
    this.arena = arena;
    this.bytes = bytes;
  }

  /** Throws InputException when the file is missing, is a folder, or cannot be read. */
  static MappedFile open(Path path) {
    if (!Files.isRegularFile(path)) {
      throw InputException.at(path, Files.exists(path) ? "is not a file" : "no such file");
    }
    Arena arena = Arena.ofShared();
    try (FileChannel channel = FileChannel.open(path, StandardOpenOption.READ)) {
      MemorySegment bytes = channel.map(FileChannel.MapMode.READ_ONLY, 0, channel.size(), arena);
      return new MappedFile(path, arena, bytes.asReadOnly());
    } catch (IOException e) {
      arena.close();
      throw new InputException(path + ": cannot be read: " + e.getMessage(), e);
    }
  }

  @Override
  public void close() {
    if (arena.scope().isAlive()) {
      arena.close();
    }
  }
}
