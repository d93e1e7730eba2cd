package org.rlhf4j.report;

import com.google.protobuf.CodedOutputStream;
import java.io.ByteArrayOutputStream;
import java.io.Closeable;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.Map;
import java.util.zip.CRC32C;

/**
 * A TensorBoard event file with scalars.
 *
 * <p>A file is a row of TFRecords: length (u64), masked CRC-32C of the length (u32), the bytes,
 * masked CRC-32C of the bytes (u32), little-endian. The bytes are an {@code Event}
 * (tensorflow/core/util/event.proto): wall_time 1 (double), step 2 (int64), file_version 3
 * (string), summary 5, session_log 7. A {@code Summary} (framework/summary.proto) has values 1: tag
 * 1 (string), simple_value 2 (float). A {@code SessionLog} has status 1, and 1 is START.
 */
final class EventFile implements Closeable {
  private static final int MASK_DELTA = 0xa282ead8;

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
        file.event(0, out -> out.writeString(3, "brain.Event:2"));
        return file;
      } catch (FileAlreadyExistsException e) {
        // Two within a second: the next number.
      }
    }
  }

  /** One event with every number of {@code values}; whatever is not a number is left out. */
  void scalars(long step, Map<String, ?> values) throws IOException {
    byte[] summary =
        message(
            out -> {
              for (Map.Entry<String, ?> e : values.entrySet()) {
                if (e.getValue() instanceof Number n) {
                  out.writeByteArray(
                      1,
                      message(
                          v -> {
                            v.writeString(1, e.getKey());
                            v.writeFloat(2, n.floatValue());
                          }));
                }
              }
            });
    if (summary.length > 0) {
      event(step, out -> out.writeByteArray(5, summary));
    }
  }

  /** Tells TensorBoard to drop what earlier files hold of steps after {@code step}. */
  void purgeAfter(long step) throws IOException {
    byte[] start = message(out -> out.writeEnum(1, 1));
    event(step + 1, out -> out.writeByteArray(7, start));
  }

  @Override
  public void close() throws IOException {
    file.close();
  }

  private interface Fields {
    void write(CodedOutputStream out) throws IOException;
  }

  private static byte[] message(Fields fields) throws IOException {
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    CodedOutputStream out = CodedOutputStream.newInstance(bytes);
    fields.write(out);
    out.flush();
    return bytes.toByteArray();
  }

  private void event(long step, Fields content) throws IOException {
    byte[] event =
        message(
            out -> {
              out.writeDouble(1, System.currentTimeMillis() / 1000.0);
              out.writeInt64(2, step);
              content.write(out);
            });
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
