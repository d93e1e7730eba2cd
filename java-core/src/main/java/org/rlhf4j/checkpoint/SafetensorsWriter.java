package org.rlhf4j.checkpoint;

import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.rlhf4j.json.Json;

/**
 * Writes a .safetensors file. Tensors are streamed in the order given, so memory use does not
 * depend on their size; equal input gives equal bytes. The file appears whole or not at all ({@link
 * AtomicFile}).
 */
public final class SafetensorsWriter {
  /** What transformers and PEFT expect to find. */
  private static final Map<String, String> PYTORCH = Map.of("format", "pt");

  private SafetensorsWriter() {}

  /**
   * Writes with the metadata {@code {"format": "pt"}}, without which transformers refuses a file.
   */
  public static void write(Path file, List<TensorToWrite> tensors) throws IOException {
    write(file, tensors, PYTORCH);
  }

  /** Writes with the metadata given; two tensors of one name are an IllegalArgumentException. */
  public static void write(Path file, List<TensorToWrite> tensors, Map<String, String> metadata)
      throws IOException {
    byte[] header = header(tensors, metadata);
    AtomicFile.write(
        file,
        channel -> {
          ByteBuffer length =
              ByteBuffer.allocate(8).order(ByteOrder.LITTLE_ENDIAN).putLong(0, header.length);
          writeFully(channel, length);
          writeFully(channel, ByteBuffer.wrap(header));
          for (TensorToWrite tensor : tensors) {
            tensor.content().writeTo(channel);
          }
        });
  }

  private static byte[] header(List<TensorToWrite> tensors, Map<String, String> metadata)
      throws IOException {
    ObjectNode header = Json.MAPPER.createObjectNode();
    if (!metadata.isEmpty()) {
      ObjectNode node = header.putObject("__metadata__");
      metadata.entrySet().stream()
          .sorted(Map.Entry.comparingByKey())
          .forEach(e -> node.put(e.getKey(), e.getValue()));
    }
    long offset = 0;
    for (TensorToWrite tensor : tensors) {
      if (header.has(tensor.name())) {
        throw new IllegalArgumentException("two tensors are named '" + tensor.name() + "'");
      }
      ObjectNode node = header.putObject(tensor.name());
      node.put("dtype", tensor.dtype());
      ArrayNode shape = node.putArray("shape");
      for (long dimension : tensor.shape()) {
        shape.add(dimension);
      }
      long end = Math.addExact(offset, tensor.byteSize());
      node.putArray("data_offsets").add(offset).add(end);
      offset = end;
    }
    String text = Json.MAPPER.writeValueAsString(header);
    int length = text.getBytes(StandardCharsets.UTF_8).length;
    // Spaces up to a multiple of 8: the data is then aligned in a mapped file.
    return (text + " ".repeat((8 - length % 8) % 8)).getBytes(StandardCharsets.UTF_8);
  }

  private static void writeFully(FileChannel channel, ByteBuffer buffer) throws IOException {
    while (buffer.hasRemaining()) {
      channel.write(buffer);
    }
  }
}
