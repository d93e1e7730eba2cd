package org.rlhf4j.checkpoint;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.rlhf4j.InputException;
import org.rlhf4j.json.Json;

/**
 * One .safetensors file, mapped: 8 bytes of header length, a JSON header, then the data. The header
 * is checked as strictly as the format's own library does: known types, sizes that match shapes,
 * and data that is covered exactly once. Every fault is an InputException that names the file, the
 * tensor, what was expected and what was found.
 */
public final class SafetensorsFile implements TensorFile {
  /**
   * The limit of the format's own library; a larger length means that the file is something else.
   */
  private static final long MAX_HEADER = 100_000_000;

  private static final ValueLayout.OfLong LONG =
      ValueLayout.JAVA_LONG_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

  private final MappedFile file;
  private final Map<String, StoredTensor> tensors;
  private final Map<String, String> metadata;

  private SafetensorsFile(
      MappedFile file, Map<String, StoredTensor> tensors, Map<String, String> metadata) {
    this.file = file;
    this.tensors = Collections.unmodifiableMap(tensors);
    this.metadata = Collections.unmodifiableMap(metadata);
  }

  /** Maps the file and checks its header; the data is not touched. */
  public static SafetensorsFile open(Path path) {
    MappedFile file = MappedFile.open(path);
    try {
      return parse(file);
    } catch (RuntimeException e) {
      file.close();
      throw e;
    }
  }

  private static SafetensorsFile parse(MappedFile file) {
    Path path = file.path;
    long size = file.bytes.byteSize();
    if (size < 8) {
      throw InputException.at(
          path, "not a safetensors file: expected at least 8 bytes, found " + size);
    }
    long length = file.bytes.get(LONG, 0);
    if (length < 2 || length > MAX_HEADER) {
      throw InputException.at(
          path,
          "not a safetensors file: expected a header of 2 to "
              + MAX_HEADER
              + " bytes, found length "
              + Long.toUnsignedString(length));
    }
    if (length > size - 8) {
      throw InputException.at(
          path,
          "truncated: expected a header of "
              + length
              + " bytes after the first 8, found "
              + (size - 8));
    }
    JsonNode header =
        parseHeader(path, file.bytes.asSlice(8, length).toArray(ValueLayout.JAVA_BYTE));
    MemorySegment data = file.bytes.asSlice(8 + length);

    List<Entry> entries = new ArrayList<>();
    Map<String, String> metadata = new LinkedHashMap<>();
    for (Map.Entry<String, JsonNode> field : header.properties()) {
      if (field.getKey().equals("__metadata__")) {
        for (Map.Entry<String, JsonNode> pair : field.getValue().properties()) {
          if (!pair.getValue().isTextual()) {
            throw InputException.at(
                path,
                "__metadata__ '"
                    + pair.getKey()
                    + "': expected a string, found "
                    + Json.kind(pair.getValue()));
          }
          metadata.put(pair.getKey(), pair.getValue().textValue());
        }
      } else {
        entries.add(Entry.parse(path, field.getKey(), field.getValue(), data.byteSize()));
      }
    }
    checkCoverage(path, entries, data.byteSize());

    Map<String, StoredTensor> tensors = new LinkedHashMap<>();
    for (Entry e : entries) {
      tensors.put(
          e.name,
          new MappedTensor(
              e.name, e.type, e.shape, e.elements, data.asSlice(e.begin, e.end - e.begin)));
    }
    return new SafetensorsFile(file, tensors, metadata);
  }

  private static JsonNode parseHeader(Path path, byte[] bytes) {
    try {
      String text = StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(bytes)).toString();
      JsonNode header = Json.MAPPER.readTree(text);
      if (header.isObject()) {
        return header;
      }
      throw InputException.at(
          path, "safetensors header: expected a JSON object, found " + Json.kind(header));
    } catch (CharacterCodingException e) {
      throw InputException.at(path, "not a safetensors file: the header is not UTF-8 text");
    } catch (JsonProcessingException e) {
      throw InputException.at(
          path, "not a safetensors file: the header is not JSON: " + e.getOriginalMessage());
    }
  }

  /** The data must be covered exactly once: neither overlaps, nor holes, nor bytes left over. */
  private static void checkCoverage(Path path, List<Entry> entries, long size) {
    List<Entry> ordered = new ArrayList<>(entries);
    ordered.sort(Comparator.comparingLong((Entry e) -> e.begin).thenComparingLong(e -> e.end));
    long covered = 0;
    for (Entry e : ordered) {
      if (e.begin != covered) {
        throw InputException.at(
            path,
            "tensor '"
                + e.name
                + "' begins at data byte "
                + e.begin
                + ", expected "
                + covered
                + " ("
                + (e.begin < covered ? "it overlaps another tensor)" : "a hole in the data)"));
      }
      covered = e.end;
    }
    if (covered != size) {
      throw InputException.at(
          path, "the header describes " + covered + " data bytes, found " + size);
    }
  }

  /** One tensor as the header describes it; offsets count from the start of the data. */
  private record Entry(
      String name, StorageType type, long[] shape, long elements, long begin, long end) {
    static Entry parse(Path path, String name, JsonNode node, long dataSize) {
      String where = "tensor '" + name + "': ";
      String dtype = node.path("dtype").asText("");
      StorageType type = StorageType.ofSafetensors(dtype);
      if (type == null) {
        throw InputException.at(
            path,
            where
                + "dtype '"
                + dtype
                + "' is not supported; expected one of "
                + StorageType.supportedSafetensors());
      }
      long[] shape = longs(path, where + "shape", node.path("shape"));
      long[] offsets = longs(path, where + "data_offsets", node.path("data_offsets"));
      if (offsets.length != 2 || offsets[0] > offsets[1]) {
        throw InputException.at(
            path,
            where
                + "data_offsets: expected [begin, end] with begin <= end, found "
                + node.path("data_offsets"));
      }
      if (offsets[1] > dataSize) {
        throw InputException.at(
            path,
            where
                + "ends at data byte "
                + offsets[1]
                + ", found only "
                + dataSize
                + " (is the file truncated?)");
      }
      long elements = Shapes.elements(shape);
      long bytes = Shapes.bytes(type, elements);
      if (bytes != offsets[1] - offsets[0]) {
        throw InputException.at(
            path,
            where
                + "shape "
                + node.path("shape")
                + " of "
                + type
                + " takes "
                + (bytes < 0 ? "more bytes than there can be" : bytes + " bytes")
                + ", found "
                + (offsets[1] - offsets[0]));
      }
      return new Entry(name, type, shape, elements, offsets[0], offsets[1]);
    }

    private static long[] longs(Path path, String what, JsonNode node) {
      if (!node.isArray()) {
        throw InputException.at(
            path, what + ": expected a list of whole numbers, found " + Json.kind(node));
      }
      long[] values = new long[node.size()];
      for (int i = 0; i < values.length; i++) {
        JsonNode item = node.get(i);
        if (!item.isIntegralNumber() || !item.canConvertToLong() || item.longValue() < 0) {
          throw InputException.at(path, what + ": expected whole numbers >= 0, found " + item);
        }
        values[i] = item.longValue();
      }
      return values;
    }
  }

  @Override
  public Path path() {
    return file.path;
  }

  @Override
  public Map<String, StoredTensor> tensors() {
    return tensors;
  }

  /** The header's {@code __metadata__}; empty if it has none. */
  public Map<String, String> metadata() {
    return metadata;
  }

  @Override
  public void close() {
    file.close();
  }
}
