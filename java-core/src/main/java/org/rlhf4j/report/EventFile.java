package org.rlhf4j.report;

import com.fasterxml.jackson.databind.ObjectWriter;
import com.fasterxml.jackson.dataformat.protobuf.ProtobufMapper;
import com.fasterxml.jackson.dataformat.protobuf.schema.ProtobufSchemaLoader;
import java.io.Closeable;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.zip.CRC32C;

/**
 * A TensorBoard event file with scalars.
 *
 * <p>A file is a row of TFRecords: length (u64), masked CRC-32C of the length (u32), the bytes,
 * masked CRC-32C of the bytes (u32), little-endian. The bytes are an {@code Event}.
 */
final class EventFile implements Closeable {
  private static final int MASK_DELTA = 0xa282ead8;

  /**
   * The parts that are written of tensorflow/core/util/event.proto and framework/summary.proto.
   * SessionLog's status 1 is START.
   */
  private static final String SCHEMA =
      """
      message Event {
        required double wall_time = 1;
        required int64 step = 2;
        optional string file_version = 3;
        optional Summary summary = 5;
        optional SessionLog session_log = 7;
      }
      message Summary {
        repeated Value value = 1;
      }
      message Value {
        required string tag = 1;
        required float simple_value = 2;
      }
      message SessionLog {
        required int32 status = 1;
      }
      """;

  private static final ObjectWriter EVENT = writer();

  private final FileChannel file;

  private EventFile(FileChannel file) {
    this.file = file;
  }

  /**
   * A new file in {@code folder}; TensorBoard reads all of a folder's files, in the order of their
   * names.
   */
  static EventFile create(Path folder) throws IOException {
    Files.createDirectories(folder);
    long seconds = System.currentTimeMillis() / 1000;
    for (int i = 0; ; i++) {
      String name = String.format("events.out.tfevents.%010d.rlhf4j.%d", seconds, i);
      try {
        EventFile file =
            new EventFile(
                FileChannel.open(
                    folder.resolve(name), StandardOpenOption.CREATE_NEW, StandardOpenOption.WRITE));
        file.event(0, Map.of("file_version", "brain.Event:2"));
        return file;
      } catch (FileAlreadyExistsException e) {
        // Two within a second: the next number.
      }
    }
  }

  /** One event with every number of {@code values}; whatever is not a number is left out. */
  void scalars(long step, Map<String, ?> values) throws IOException {
    List<Map<String, Object>> scalars = new ArrayList<>();
    values.forEach(
        (tag, value) -> {
          if (value instanceof Number n) {
            Map<String, Object> scalar = new LinkedHashMap<>();
            scalar.put("tag", tag);
            scalar.put("simple_value", n.floatValue());
            scalars.add(scalar);
          }
        });
    if (!scalars.isEmpty()) {
      event(step, Map.of("summary", Map.of("value", scalars)));
    }
  }

  /** Tells TensorBoard to drop what earlier files hold of steps after {@code step}. */
  void purgeAfter(long step) throws IOException {
    event(step + 1, Map.of("session_log", Map.of("status", 1)));
  }

  @Override
  public void close() throws IOException {
    file.close();
  }

  private static ObjectWriter writer() {
    try {
      return new ProtobufMapper().writer(ProtobufSchemaLoader.std.parse(SCHEMA, "Event"));
    } catch (IOException e) {
      throw new IllegalStateException(e);
    }
  }

  private void event(long step, Map<String, ?> content) throws IOException {
    Map<String, Object> fields = new LinkedHashMap<>();
    fields.put("wall_time", System.currentTimeMillis() / 1000.0);
    fields.put("step", step);
    fields.putAll(content);
    byte[] event = EVENT.writeValueAsBytes(fields);
    ByteBuffer record = ByteBuffer.allocate(event.length + 16).order(ByteOrder.LITTLE_ENDIAN);
    record.putLong(event.length);
    record.putInt(maskedCrc(record.array(), 8));
    record.put(event);
    record.putInt(maskedCrc(event, event.length));
    record.flip();
    while (record.hasRemaining()) {
      file.write(record);
    }
  }

  private static int maskedCrc(byte[] bytes, int length) {
    CRC32C crc = new CRC32C();
    crc.update(bytes, 0, length);
    return Integer.rotateRight((int) crc.getValue(), 15) + MASK_DELTA;
  }
}
