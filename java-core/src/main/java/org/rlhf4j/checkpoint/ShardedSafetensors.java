package org.rlhf4j.checkpoint;

import com.fasterxml.jackson.databind.JsonNode;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Map;
import org.rlhf4j.InputException;
import org.rlhf4j.json.Json;

/** Several safetensors files under one {@code model.safetensors.index.json}, seen as one. */
public final class ShardedSafetensors implements TensorFile {
  private final Path index;
  private final Map<String, SafetensorsFile> shards = new LinkedHashMap<>();
  private final Map<String, StoredTensor> tensors = new LinkedHashMap<>();

  private ShardedSafetensors(Path index) {
    this.index = index;
  }

  /**
   * Opens every shard that the index names. A missing shard, or a tensor that is not in its shard,
   * is an InputException.
   */
  public static ShardedSafetensors open(Path index) {
    ShardedSafetensors all = new ShardedSafetensors(index);
    try {
      all.load();
      return all;
    } catch (RuntimeException e) {
      all.close();
      throw e;
    }
  }

  private void load() {
    JsonNode map = Json.readObject(index).path("weight_map");
    if (!map.isObject() || map.isEmpty()) {
      throw InputException.at(
          index, "expected 'weight_map' (tensor name to file name), found " + Json.kind(map));
    }
    for (Map.Entry<String, JsonNode> entry : map.properties()) {
      String name = entry.getValue().asText();
      // A shard lies beside its index: a path that leads elsewhere is a mistake, or worse.
      if (!entry.getValue().isTextual() || !name.matches("[^/\\\\\\x00]+") || name.equals("..")) {
        throw InputException.at(
            index,
            "weight_map of '"
                + entry.getKey()
                + "': expected the name of a file beside the index, found '"
                + name
                + "'");
      }
      SafetensorsFile shard = shards.get(name);
      if (shard == null) {
        Path path = index.resolveSibling(name);
        if (!Files.isRegularFile(path)) {
          throw InputException.at(
              index, "names the shard '" + name + "', which is not in the folder");
        }
        shard = SafetensorsFile.open(path);
        shards.put(name, shard);
      }
      tensors.put(entry.getKey(), shard.tensor(entry.getKey()));
    }
  }

  @Override
  public Path path() {
    return index;
  }

  @Override
  public Map<String, StoredTensor> tensors() {
    return Collections.unmodifiableMap(tensors);
  }

  @Override
  public void close() {
    shards.values().forEach(SafetensorsFile::close);
  }
}
