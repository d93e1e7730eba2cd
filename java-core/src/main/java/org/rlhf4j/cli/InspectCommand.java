package org.rlhf4j.cli;

import com.fasterxml.jackson.databind.JsonNode;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.Callable;
import org.rlhf4j.InputException;
import org.rlhf4j.checkpoint.BitsAndBytes;
import org.rlhf4j.checkpoint.ModelFiles;
import org.rlhf4j.checkpoint.SafetensorsFile;
import org.rlhf4j.checkpoint.StoredTensor;
import org.rlhf4j.json.Json;
import org.rlhf4j.nn.families.Families;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

@Command(
    name = "inspect",
    description = "What a model, adapter, checkpoint or GGUF file holds, and its size.",
    mixinStandardHelpOptions = true)
final class InspectCommand implements Callable<Integer> {
  @Mixin private CommonOptions common;

  @Option(names = "--model", paramLabel = "PATH", description = Models.MODEL)
  private Path model;

  @Parameters(
      arity = "0..1",
      paramLabel = "PATH",
      description = "a model, an adapter, a checkpoint or a .safetensors file")
  private Path path;

  @Option(names = "--tensors", description = "also list every tensor")
  private boolean tensors;

  @Override
  public Integer call() {
    common.configureLog();
    Path what = Models.local(path != null ? path : model);
    if (what == null) {
      throw new InputException("expected a path to inspect, found none");
    }
    Map<String, Object> document = inspect(what);
    if (common.json) {
      Output.json(document);
    } else {
      print(document);
    }
    return 0;
  }

  private Map<String, Object> inspect(Path what) {
    if (Files.isRegularFile(what.resolve("adapter_config.json"))) {
      return adapter(what);
    }
    if (Files.isRegularFile(what.resolve("state.json"))) {
      Map<String, Object> document = file("checkpoint", what, what.resolve("trainer.safetensors"));
      document.put("state", Json.readObject(what.resolve("state.json")));
      return document;
    }
    if (what.toString().endsWith(".safetensors")) {
      return file("safetensors", what, what);
    }
    try (ModelFiles files = ModelFiles.openDescription(what)) {
      Map<String, Object> document =
          start(files.isGguf() ? "gguf" : "model", what, files.tensors());
      JsonNode config = files.config();
      if (files.tensors().isEmpty()) {
        document.put("weights", "none");
        document.put("parameters", Families.config(config, what.toString()).parameterCount());
      }
      document.put("model_type", config.path("model_type").asText());
      if (files.quantization().isNf4()) {
        document.put("quantization", files.quantization().text());
      }
      document.put("config", config);
      document.put("eos_token_ids", files.eosIds());
      return document;
    }
  }

  private Map<String, Object> adapter(Path what) {
    Map<String, Object> document = file("adapter", what, what.resolve("adapter_model.safetensors"));
    document.put("config", Json.readObject(what.resolve("adapter_config.json")));
    document.put("value_head", Files.isRegularFile(what.resolve("value_head.safetensors")));
    return document;
  }

  private Map<String, Object> file(String kind, Path what, Path file) {
    try (SafetensorsFile opened = SafetensorsFile.open(file)) {
      return start(kind, what, BitsAndBytes.join(opened).tensors());
    }
  }

  private Map<String, Object> start(String kind, Path what, Map<String, StoredTensor> stored) {
    Map<String, Object> document = new LinkedHashMap<>();
    Map<String, Long> types = new TreeMap<>();
    long parameters = 0;
    long bytes = 0;
    List<Map<String, Object>> list = new ArrayList<>();
    for (StoredTensor t : stored.values()) {
      parameters += t.elements();
      bytes += t.byteSize();
      types.merge(t.storedType(), 1L, Long::sum);
      if (tensors) {
        list.add(Map.of("name", t.name(), "type", t.storedType(), "shape", t.shape()));
      }
    }
    document.put("kind", kind);
    document.put("path", what.toString());
    document.put("parameters", parameters);
    document.put("bytes", bytes);
    document.put("tensors_by_type", types);
    if (tensors) {
      document.put("tensors", list);
    }
    return document;
  }

  private static void print(Map<String, Object> document) {
    document.forEach(
        (key, value) -> {
          if (value instanceof List<?> list) {
            for (Object item : list) {
              Map<?, ?> t = (Map<?, ?>) item;
              Output.line(
                  "  "
                      + t.get("name")
                      + " "
                      + t.get("type")
                      + Arrays.toString((long[]) t.get("shape")));
            }
          } else {
            Output.line(
                key
                    + ": "
                    + (key.equals("bytes")
                        ? String.format(Locale.ROOT, "%,d", (Long) value)
                        : value));
          }
        });
  }
}
