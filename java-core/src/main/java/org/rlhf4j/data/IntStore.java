package org.rlhf4j.data;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteOrder;
import java.nio.IntBuffer;
import java.nio.channels.FileChannel;
import java.nio.channels.FileChannel.MapMode;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.List;

/**
 * A growing sequence of ints that may be larger than memory: the first part is kept on the heap,
 * what follows in a temporary file that is mapped, so that the operating system keeps in memory
 * what is in use and writes out the rest. The file has no name any more once it is open, and goes
 * when the process ends.
 *
 * <p>One thread appends; any number of threads may then read.
 */
final class IntStore {
  /** Ints of one chunk: 4 MiB. */
  private static final int CHUNK = 1 << 20;

  private final int heapChunks;
  private final List<IntBuffer> chunks = new ArrayList<>();
  private FileChannel file;
  private long size;

  /**
   * @param heapInts how many ints stay on the heap; rounded up to whole chunks
   */
  IntStore(long heapInts) {
    heapChunks = Math.toIntExact((heapInts + CHUNK - 1) / CHUNK);
  }

  long size() {
    return size;
  }

  void append(int value) {
    room().put((int) (size % CHUNK), value);
    size++;
  }

  void append(int[] values, int from, int to) {
    while (from < to) {
      IntBuffer chunk = room();
      int at = (int) (size % CHUNK);
      int count = Math.min(to - from, CHUNK - at);
      chunk.put(at, values, from, count);
      size += count;
      from += count;
    }
  }

  /** The chunk that the next int goes to. */
  private IntBuffer room() {
    int chunk = Math.toIntExact(size / CHUNK);
    if (chunk == chunks.size()) {
      chunks.add(chunk < heapChunks ? IntBuffer.allocate(CHUNK) : mapped());
    }
    return chunks.get(chunk);
  }

  int get(long position) {
    return chunks.get((int) (position / CHUNK)).get((int) (position % CHUNK));
  }

  /** Copies {@code into.length - at} ints from {@code position} to the end of {@code into}. */
  void get(long position, int[] into, int at) {
    while (at < into.length) {
      int offset = (int) (position % CHUNK);
      int count = Math.min(into.length - at, CHUNK - offset);
      chunks.get((int) (position / CHUNK)).get(offset, into, at, count);
      at += count;
      position += count;
    }
  }

  private IntBuffer mapped() {
    try {
      if (file == null) {
        Path path = Files.createTempFile("rlhf4j-tokens", ".bin");
        file = FileChannel.open(path, StandardOpenOption.READ, StandardOpenOption.WRITE);
        Files.delete(path);
      }
      long bytes = 4L * CHUNK;
      long from = (chunks.size() - heapChunks) * bytes;
      return file.map(MapMode.READ_WRITE, from, bytes).order(ByteOrder.nativeOrder()).asIntBuffer();
    } catch (IOException e) {
      throw new UncheckedIOException(
          "no room for the tokens of the data in "
              + System.getProperty("java.io.tmpdir")
              + " (-Djava.io.tmpdir=DIR names another folder): "
              + e.getMessage(),
          e);
    }
  }
}
