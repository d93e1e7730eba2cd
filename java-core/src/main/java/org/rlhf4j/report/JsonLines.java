package org.rlhf4j.report;

import com.fasterxml.jackson.core.JsonProcessingException;
import java.io.BufferedInputStream;
import java.io.ByteArrayOutputStream;
import java.io.Closeable;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Consumer;
import org.rlhf4j.json.Json;

/**
 * A file of one JSON object a line, each with the {@code step} it belongs to. A line reaches the
 * operating system before {@link #append} returns. Numbers that JSON lacks (NaN, infinities) become
 * null.
 */
final class JsonLines implements Closeable {
  static final String STEP = "step";
  private final FileChannel file;

  JsonLines(Path path) throws IOException {
    file = FileChannel.open(path, StandardOpenOption.CREATE, StandardOpenOption.APPEND);
  }

  void append(Map<String, ?> object) throws IOException {
    ByteBuffer line = ByteBuffer.wrap((write(object) + "\n").getBytes(StandardCharsets.UTF_8));
    while (line.hasRemaining()) {
      file.write(line);
    }
  }

  /** Forces what was appended to disk. */
  void force() throws IOException {
    file.force(false);
  }

  @Override
  public void close() throws IOException {
    file.close();
  }

  /** One line of JSON. */
  static String write(Object value) {
    try {
      return Json.MAPPER.writeValueAsString(safe(value));
    } catch (JsonProcessingException e) {
      throw new IllegalArgumentException("not writable as JSON: " + e.getOriginalMessage(), e);
    }
  }

  private static Object safe(Object value) {
    if (value instanceof Double d && !Double.isFinite(d)
        || value instanceof Float f && !Float.isFinite(f)) {
      return null;
    }
    if (value instanceof Map<?, ?> map) {
      Map<String, Object> copy = new LinkedHashMap<>();
      map.forEach((k, v) -> copy.put(String.valueOf(k), safe(v)));
      return copy;
    }
    if (value instanceof List<?> list) {
      List<Object> copy = new ArrayList<>(list.size());
      list.forEach(v -> copy.add(safe(v)));
      return copy;
    }
    return value;
  }

  /**
   * Hands every whole line of {@code path} to {@code each}, in order. A last line without its end,
   * as a process that died leaves it, is not read; a file that is not there has no lines.
   *
   * @throws IOException naming FILE:LINE if a line is not a JSON object
   */
  static void read(Path path, Consumer<Map<String, Object>> each) throws IOException {
    scan(path, (object, end) -> each.accept(object));
  }

  /** Cuts {@code path} before the first line of a later step, or that is not whole. */
  static void truncateTo(Path path, long step) throws IOException {
    if (!Files.exists(path)) {
      return;
    }
    long[] keep = {0};
    boolean[] ended = {false};
    scan(
        path,
        (object, end) -> {
          boolean later = !(object.get(STEP) instanceof Number n) || n.longValue() > step;
          ended[0] |= later;
          if (!ended[0]) {
            keep[0] = end;
          }
        });
    try (FileChannel file = FileChannel.open(path, StandardOpenOption.WRITE)) {
      file.truncate(keep[0]);
      file.force(true);
    }
  }

  private interface LineConsumer {
    void accept(Map<String, Object> object, long end);
  }

  private static void scan(Path path, LineConsumer each) throws IOException {
    if (!Files.exists(path)) {
      return;
    }
    try (InputStream in = new BufferedInputStream(Files.newInputStream(path), 1 << 16)) {
      ByteArrayOutputStream line = new ByteArrayOutputStream();
      long position = 0;
      long number = 0;
      for (int b = in.read(); b >= 0; b = in.read()) {
        position++;
        if (b != '\n') {
          line.write(b);
          continue;
        }
        number++;
        each.accept(parse(path, number, line.toByteArray()), position);
        line.reset();
      }
    }
  }

  @SuppressWarnings("unchecked")
  private static Map<String, Object> parse(Path path, long number, byte[] line) throws IOException {
    try {
      return Json.MAPPER.readValue(line, Map.class);
    } catch (JsonProcessingException e) {
      throw new IOException(path + ":" + number + ": not a JSON object: " + e.getOriginalMessage());
    }
  }
}
