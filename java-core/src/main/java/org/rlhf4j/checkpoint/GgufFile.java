package org.rlhf4j.checkpoint;

import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.rlhf4j.InputException;

/**
 * One GGUF file (version 2 or 3, little-endian), mapped: metadata, a table of tensors, then the
 * aligned data. Tensor names are the file's own ({@code blk.0.attn_q.weight}); shapes are
 * row-major, that is, GGML's dimensions in reverse. {@link ModelFiles} gives the same tensors under
 * Hugging Face names.
 */
public final class GgufFile implements TensorFile {
  private static final int MAGIC = 0x46554747; // "GGUF"
  private static final int MAX_DIMENSIONS = 4;

  /** Names of GGML's types by number, for messages about those that we do not read. */
  private static final Map<Integer, String> UNSUPPORTED =
      Map.ofEntries(
          Map.entry(9, "Q8_1"),
          Map.entry(15, "Q8_K"),
          Map.entry(16, "IQ2_XXS"),
          Map.entry(17, "IQ2_XS"),
          Map.entry(18, "IQ3_XXS"),
          Map.entry(19, "IQ1_S"),
          Map.entry(20, "IQ4_NL"),
          Map.entry(21, "IQ3_S"),
          Map.entry(22, "IQ2_S"),
          Map.entry(23, "IQ4_XS"),
          Map.entry(29, "IQ1_M"),
          Map.entry(34, "TQ1_0"),
          Map.entry(35, "TQ2_0"),
          Map.entry(39, "MXFP4"));

  private final MappedFile file;
  private final int version;
  private final GgufMetadata metadata;
  private final Map<String, StoredTensor> tensors;

  private GgufFile(
      MappedFile file, int version, GgufMetadata metadata, Map<String, StoredTensor> tensors) {
    this.file = file;
    this.version = version;
    this.metadata = metadata;
    this.tensors = Collections.unmodifiableMap(tensors);
  }

  /** Maps the file and checks everything but the tensors' data. Any fault is an InputException. */
  public static GgufFile open(Path path) {
    MappedFile file = MappedFile.open(path);
    try {
      return parse(file);
    } catch (RuntimeException e) {
      file.close();
      throw e;
    }
  }

  private static GgufFile parse(MappedFile file) {
    Path path = file.path;
    GgufCursor cursor = new GgufCursor(file);
    int magic = cursor.i32();
    if (magic != MAGIC) {
      throw InputException.at(
          path,
          String.format("not a GGUF file: expected 'GGUF' at its start, found 0x%08x", magic));
    }
    int version = cursor.i32();
    if (version != 2 && version != 3) {
      throw InputException.at(
          path,
          "GGUF version: expected 2 or 3, found "
              + Integer.toUnsignedString(version)
              + (Integer.reverseBytes(version) <= 3 && version != 1
                  ? " (a big-endian file?)"
                  : ""));
    }
    int tensorCount = cursor.count("table of tensors", 24);
    int metadataCount = cursor.count("table of metadata", 13);
    GgufMetadata metadata = GgufMetadata.parse(path, cursor, metadataCount);
    long alignment = metadata.integer("general.alignment").orElse(32);
    if (alignment < 1 || Long.bitCount(alignment) != 1 || alignment > 1 << 20) {
      throw InputException.at(
          path, "general.alignment: expected a power of two, found " + alignment);
    }

    List<Entry> entries = new ArrayList<>();
    for (int i = 0; i < tensorCount; i++) {
      entries.add(Entry.parse(path, cursor, alignment));
    }
    long start = (cursor.position() + alignment - 1) / alignment * alignment;
    long size = file.bytes.byteSize();
    // A file with no tensors (a vocabulary alone) may end before the padding.
    MemorySegment data = file.bytes.asSlice(Math.min(start, size));
    checkPlaces(path, entries, data.byteSize());

    Map<String, StoredTensor> tensors = new LinkedHashMap<>();
    for (Entry e : entries) {
      StoredTensor tensor =
          new MappedTensor(e.name, e.type, e.shape, e.elements, data.asSlice(e.offset, e.bytes));
      if (tensors.put(e.name, tensor) != null) {
        throw InputException.at(path, "tensor '" + e.name + "' occurs twice");
      }
    }
    return new GgufFile(file, version, metadata, tensors);
  }

  private static void checkPlaces(Path path, List<Entry> entries, long dataSize) {
    List<Entry> ordered = new ArrayList<>(entries);
    ordered.sort(Comparator.comparingLong((Entry e) -> e.offset).thenComparingLong(e -> e.bytes));
    long covered = 0;
    for (Entry e : ordered) {
      if (e.offset < covered) {
        throw InputException.at(
            path,
            "tensor '"
                + e.name
                + "' begins at data byte "
                + e.offset
                + " inside another one, which ends at "
                + covered);
      }
      if (e.bytes > dataSize - e.offset) {
        throw InputException.at(
            path,
            "tensor '"
                + e.name
                + "' takes data bytes "
                + e.offset
                + " to "
                + (e.offset + e.bytes)
                + ", found only "
                + dataSize
                + " (is the file truncated?)");
      }
      covered = e.offset + e.bytes;
    }
  }

  private record Entry(
      String name, StorageType type, long[] shape, long elements, long offset, long bytes) {
    static Entry parse(Path path, GgufCursor cursor, long alignment) {
      String name = cursor.string();
      String where = "tensor '" + name + "': ";
      int dimensions = cursor.i32();
      if (dimensions < 0 || dimensions > MAX_DIMENSIONS) {
        throw InputException.at(
            path,
            where
                + "expected at most "
                + MAX_DIMENSIONS
                + " dimensions, found "
                + Integer.toUnsignedString(dimensions));
      }
      long[] shape = new long[dimensions];
      for (int i = dimensions - 1; i >= 0; i--) {
        shape[i] = cursor.i64();
      }
      int id = cursor.i32();
      StorageType type = StorageType.ofGguf(id);
      if (type == null) {
        throw InputException.at(
            path,
            where
                + "type "
                + UNSUPPORTED.getOrDefault(id, "number " + id)
                + " is not supported; expected one of "
                + StorageType.supportedGguf());
      }
      long offset = cursor.i64();
      if (offset < 0 || offset % alignment != 0) {
        throw InputException.at(
            path,
            where
                + "offset: expected a multiple of "
                + alignment
                + ", found "
                + Long.toUnsignedString(offset));
      }
      long elements = Shapes.elements(shape);
      long row = dimensions == 0 ? 1 : shape[dimensions - 1];
      long bytes = Shapes.bytes(type, elements);
      if (bytes < 0 || row % type.blockElements != 0) {
        throw InputException.at(
            path,
            where
                + "a "
                + type
                + " tensor cannot have the shape "
                + Arrays.toString(shape)
                + ": expected rows of a multiple of "
                + type.blockElements);
      }
      return new Entry(name, type, shape, elements, offset, bytes);
    }
  }

  @Override
  public Path path() {
    return file.path;
  }

  /** 2 or 3. */
  public int version() {
    return version;
  }

  public GgufMetadata metadata() {
    return metadata;
  }

  @Override
  public Map<String, StoredTensor> tensors() {
    return tensors;
  }

  @Override
  public void close() {
    file.close();
  }
}
