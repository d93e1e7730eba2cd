package org.rlhf4j.report;

import java.io.IOException;
import java.nio.channels.FileChannel;
import java.nio.file.FileVisitResult;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.nio.file.SimpleFileVisitor;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.BasicFileAttributes;
import java.util.List;
import java.util.stream.Stream;

/**
 * A folder that appears whole or not at all: written beside its place under a hidden name, forced
 * to disk, renamed. A process that dies leaves either the old folder or the new one, and {@link
 * #repair} removes what else it left.
 */
public final class AtomicFolder {
  private static final String NEW = ".new";
  private static final String OLD = ".old";

  private AtomicFolder() {}

  /** Writes {@code place}, replacing what is there. If the writer fails, what is there stays. */
  public static void write(Path place, FolderWriter writer) throws IOException {
    Path parent = place.toAbsolutePath().getParent();
    Files.createDirectories(parent);
    Path fresh = hidden(place, NEW);
    delete(fresh);
    Files.createDirectory(fresh);
    boolean written = false;
    try {
      writer.write(fresh);
      force(fresh);
      written = true;
    } finally {
      if (!written) {
        delete(fresh);
      }
    }
    Path old = hidden(place, OLD);
    if (Files.exists(place)) {
      // Java has no exchange of two folders; between these two renames only the hidden names exist.
      delete(old);
      Files.move(place, old, StandardCopyOption.ATOMIC_MOVE);
    }
    Files.move(fresh, place, StandardCopyOption.ATOMIC_MOVE);
    forceEntry(parent);
    delete(old);
  }

  /** Undoes what a process that died in {@link #write} left in {@code parent}. */
  static void repair(Path parent) throws IOException {
    if (!Files.isDirectory(parent)) {
      return;
    }
    List<Path> left;
    try (Stream<Path> files = Files.list(parent)) {
      left = files.filter(p -> p.getFileName().toString().startsWith(".")).toList();
    }
    for (Path path : left) {
      String name = path.getFileName().toString();
      if (name.endsWith(NEW)) {
        delete(path);
      } else if (name.endsWith(OLD)) {
        Path place = parent.resolve(name.substring(1, name.length() - OLD.length()));
        if (Files.exists(place)) {
          delete(path);
        } else {
          Files.move(path, place, StandardCopyOption.ATOMIC_MOVE);
        }
      }
    }
  }

  /**
   * Removes a folder and all in it, without following links; nothing happens if it is not there.
   */
  static void delete(Path folder) throws IOException {
    if (!Files.exists(folder, LinkOption.NOFOLLOW_LINKS)) {
      return;
    }
    Files.walkFileTree(
        folder,
        new SimpleFileVisitor<>() {
          @Override
          public FileVisitResult visitFile(Path file, BasicFileAttributes a) throws IOException {
            Files.delete(file);
            return FileVisitResult.CONTINUE;
          }

          @Override
          public FileVisitResult postVisitDirectory(Path dir, IOException e) throws IOException {
            if (e != null) {
              throw e;
            }
            Files.delete(dir);
            return FileVisitResult.CONTINUE;
          }
        });
  }

  private static Path hidden(Path place, String suffix) {
    return place.toAbsolutePath().resolveSibling("." + place.getFileName() + suffix);
  }

  private static void force(Path folder) throws IOException {
    List<Path> all;
    try (Stream<Path> files = Files.walk(folder)) {
      all = files.toList();
    }
    for (Path path : all) {
      if (Files.isRegularFile(path)) {
        try (FileChannel file = FileChannel.open(path, StandardOpenOption.WRITE)) {
          file.force(true);
        }
      } else if (Files.isDirectory(path)) {
        forceEntry(path);
      }
    }
  }

  /**
   * Forces a folder's list of names; not every file system can, and then nothing is lost but this.
   */
  private static void forceEntry(Path folder) {
    try (FileChannel list = FileChannel.open(folder, StandardOpenOption.READ)) {
      list.force(true);
    } catch (IOException e) {
      // Windows and some network file systems do not open folders.
    }
  }
}
