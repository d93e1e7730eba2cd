package org.rlhf4j.report;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Reads event files with a parser of its own: framing, check sums (bit by bit) and wire format. */
class EventFileTest {
  @TempDir Path folder;

  @Test
  void checkSumIsTheStandardOne() {
    // RFC 3720, B.4: CRC-32C of 32 zero bytes; "123456789" is the usual check value.
    assertEquals(0x8a9136aa, crc32c(new byte[32]));
    assertEquals(0xe3069283, crc32c("123456789".getBytes(StandardCharsets.US_ASCII)));
  }

  @Test
  void scalarsReadBack() throws IOException {
    Map<String, Object> values = new LinkedHashMap<>();
    values.put("loss", 0.25);
    values.put("objective/kl", -1e-3f);
    values.put("val/num_eos_tokens", 7L);
    values.put("bad", Double.NaN);
    values.put("health", List.of("words"));
    try (EventFile file = EventFile.create(folder)) {
      file.scalars(1, values);
      file.scalars(300, Map.of("ж", 1));
      file.scalars(301, Map.of("health", "words"));
    }
    assertEquals(
        List.of(
            "0 version=brain.Event:2",
            "1 loss=0.25 objective/kl=-0.001 val/num_eos_tokens=7.0 bad=NaN",
            "300 ж=1.0"),
        events());
  }

  @Test
  void aResumedRunPurgesLaterSteps() throws IOException {
    try (EventFile file = EventFile.create(folder)) {
      file.scalars(1, Map.of("loss", 1));
    }
    try (EventFile file = EventFile.create(folder)) {
      file.purgeAfter(1);
      file.scalars(2, Map.of("loss", 2));
    }
    assertEquals(
        List.of(
            "0 version=brain.Event:2",
            "1 loss=1.0",
            "0 version=brain.Event:2",
            "2 session=1",
            "2 loss=2.0"),
        events());
  }

  private List<String> events() throws IOException {
    List<Path> files;
    try (Stream<Path> list = Files.list(folder)) {
      files = list.sorted().toList();
    }
    List<String> events = new ArrayList<>();
    for (Path file : files) {
      ByteBuffer bytes = ByteBuffer.wrap(Files.readAllBytes(file)).order(ByteOrder.LITTLE_ENDIAN);
      while (bytes.hasRemaining()) {
        byte[] head = new byte[8];
        bytes.get(head);
        assertEquals(masked(head), bytes.getInt());
        byte[] data =
            new byte[(int) ByteBuffer.wrap(head).order(ByteOrder.LITTLE_ENDIAN).getLong()];
        bytes.get(data);
        assertEquals(masked(data), bytes.getInt());
        events.add(event(data));
      }
    }
    return events;
  }

  private static String event(byte[] data) {
    long step = 0;
    StringBuilder text = new StringBuilder();
    for (Field f : fields(data)) {
      switch (f.number) {
        case 1 ->
            assertEquals(System.currentTimeMillis() / 1e3, Double.longBitsToDouble(f.value), 60);
        case 2 -> step = f.value;
        case 3 -> text.append(" version=").append(f.text());
        case 5 -> fields(f.bytes).forEach(v -> text.append(' ').append(scalar(v)));
        case 7 -> text.append(" session=").append(fields(f.bytes).get(0).value);
        default -> throw new AssertionError("field " + f.number);
      }
    }
    return step + text.toString();
  }

  private static String scalar(Field value) {
    assertEquals(1, value.number);
    List<Field> parts = fields(value.bytes);
    assertEquals(List.of(1, 2), parts.stream().map(Field::number).toList());
    return parts.get(0).text() + "=" + Float.intBitsToFloat((int) parts.get(1).value);
  }

  private record Field(int number, long value, byte[] bytes) {
    String text() {
      return new String(bytes, StandardCharsets.UTF_8);
    }
  }

  private static List<Field> fields(byte[] message) {
    ByteBuffer in = ByteBuffer.wrap(message).order(ByteOrder.LITTLE_ENDIAN);
    List<Field> fields = new ArrayList<>();
    while (in.hasRemaining()) {
      int tag = (int) varint(in);
      int number = tag >>> 3;
      switch (tag & 7) {
        case 0 -> fields.add(new Field(number, varint(in), null));
        case 1 -> fields.add(new Field(number, in.getLong(), null));
        case 2 -> {
          byte[] bytes = new byte[(int) varint(in)];
          in.get(bytes);
          fields.add(new Field(number, 0, bytes));
        }
        case 5 -> fields.add(new Field(number, in.getInt(), null));
        default -> throw new AssertionError("wire type " + (tag & 7));
      }
    }
    return fields;
  }

  private static long varint(ByteBuffer in) {
    long value = 0;
    for (int shift = 0; ; shift += 7) {
      byte b = in.get();
      value |= (b & 0x7fL) << shift;
      if (b >= 0) {
        return value;
      }
    }
  }

  private static int masked(byte[] bytes) {
    int crc = crc32c(bytes);
    return ((crc >>> 15) | (crc << 17)) + 0xa282ead8;
  }

  private static int crc32c(byte[] bytes) {
    int crc = -1;
    for (byte b : bytes) {
      crc ^= b & 0xff;
      for (int i = 0; i < 8; i++) {
        crc = (crc >>> 1) ^ ((crc & 1) * 0x82f63b78);
      }
    }
    return ~crc;
  }
}
