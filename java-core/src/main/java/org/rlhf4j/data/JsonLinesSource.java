package org.rlhf4j.data;

import com.fasterxml.jackson.core.JsonProcessingException;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.CodingErrorAction;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import org.rlhf4j.json.Json;

/**
 * One JSON object to a line, in UTF-8. A byte-order mark, CRLF and blank lines are accepted; a line
 * may be of any length.
 */
final class JsonLinesSource implements RowSource {
  private final Path file;
  private final InputStream in;
  private final byte[] buffer = new byte[1 << 16];
  private int at;
  private int filled;
  private long line;

  /**
   * @param in the file's text; closed with this
   */
  JsonLinesSource(Path file, InputStream in) {
    this.file = file;
    this.in = in;
  }

  @Override
  public Row next() throws IOException {
    for (byte[] bytes; (bytes = nextLine()) != null; ) {
      line++;
      String text = decode(bytes);
      if (line == 1 && text.startsWith("\uFEFF")) {
        text = text.substring(1);
      }
      if (!text.isBlank()) {
        try {
          return new Row(file, "line", line, Json.MAPPER.readTree(text));
        } catch (JsonProcessingException e) {
          int column = e.getLocation() == null ? 0 : e.getLocation().getColumnNr();
          throw Row.error(
              file,
              "line",
              line,
              "not valid JSON at column " + column + ": " + e.getOriginalMessage());
        }
      }
    }
    return null;
  }

  private String decode(byte[] bytes) {
    try {
      return StandardCharsets.UTF_8
          .newDecoder()
          .onMalformedInput(CodingErrorAction.REPORT)
          .decode(ByteBuffer.wrap(bytes))
          .toString();
    } catch (CharacterCodingException e) {
      throw Row.error(file, "line", line, "not UTF-8, expected JSON in UTF-8");
    }
  }

  /** The bytes up to the next line feed, or null at the end of the file. */
  private byte[] nextLine() throws IOException {
    ByteArrayOutputStream bytes = null;
    while (true) {
      if (at == filled) {
        filled = in.read(buffer);
        at = 0;
        if (filled <= 0) {
          filled = 0;
          return bytes == null || bytes.size() == 0 ? null : bytes.toByteArray();
        }
      }
      int end = at;
      while (end < filled && buffer[end] != '\n') {
        end++;
      }
      if (bytes == null) {
        bytes = new ByteArrayOutputStream(Math.max(256, end - at));
      }
      bytes.write(buffer, at, end - at);
      at = end;
      if (end < filled) {
        at++;
        return bytes.toByteArray();
      }
    }
  }

  @Override
  public void close() throws IOException {
    in.close();
  }
}
