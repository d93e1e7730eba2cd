package org.rlhf4j.checkpoint;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import org.rlhf4j.InputException;
import org.rlhf4j.json.Json;
import org.rlhf4j.tokenizer.GgufVocabulary;
import org.rlhf4j.tokenizer.Tokenizer;

/** A folder as {@code save_pretrained} writes it. */
final class HuggingFaceFolder extends ModelFiles {
  private final ObjectNode config;
  private final ObjectNode generationConfig;
  private final ObjectNode tokenizerConfig;
  private final TensorFile weights;

  private HuggingFaceFolder(Path folder, ObjectNode config, TensorFile weights) {
    super(folder);
    this.config = config;
    this.weights = weights;
    this.generationConfig = optional(folder.resolve("generation_config.json"));
    this.tokenizerConfig = optional(folder.resolve("tokenizer_config.json"));
    addChatTemplate(folder);
  }

  static HuggingFaceFolder openFolder(Path folder, boolean withWeights) {
    Path config = folder.resolve("config.json");
    if (!Files.isRegularFile(config)) {
      String hint =
          Files.isRegularFile(folder.resolve("adapter_config.json"))
              ? "; this is an adapter: give its base as the model and the folder as --adapter"
              : "";
      throw InputException.at(
          folder, "expected config.json in the model folder, found " + listing(folder) + hint);
    }
    ObjectNode json = Json.readObject(config);
    BitsAndBytes.checkConfig(config, json);
    TensorFile weights = openWeights(folder, withWeights);
    try {
      return new HuggingFaceFolder(folder, json, BitsAndBytes.join(weights));
    } catch (RuntimeException e) {
      weights.close();
      throw e;
    }
  }

  private static TensorFile openWeights(Path folder, boolean required) {
    Path index = folder.resolve("model.safetensors.index.json");
    if (Files.isRegularFile(index)) {
      return ShardedSafetensors.open(index);
    }
    Path single = folder.resolve("model.safetensors");
    if (Files.isRegularFile(single)) {
      return SafetensorsFile.open(single);
    }
    if (!required) {
      return new NoWeights(folder);
    }
    String hint =
        Files.isRegularFile(folder.resolve("pytorch_model.bin"))
            ? "; save pytorch_model.bin again as safetensors with transformers' save_pretrained"
            : "";
    throw InputException.at(
        folder,
        "expected model.safetensors or model.safetensors.index.json, found "
            + listing(folder)
            + hint);
  }

  private static ObjectNode optional(Path file) {
    return Files.isRegularFile(file) ? Json.readObject(file) : Json.MAPPER.createObjectNode();
  }

  /**
   * chat_template.jinja wins, as in transformers; a list of named templates in the configuration
   * means its default.
   */
  private void addChatTemplate(Path folder) {
    Path file = folder.resolve("chat_template.jinja");
    if (Files.isRegularFile(file)) {
      tokenizerConfig.put("chat_template", Json.readText(file));
      return;
    }
    JsonNode configured = tokenizerConfig.path("chat_template");
    if (configured.isArray()) {
      tokenizerConfig.remove("chat_template");
      for (JsonNode named : configured) {
        if (named.path("name").asText().equals("default")) {
          tokenizerConfig.set("chat_template", named.path("template"));
        }
      }
    }
  }

  @Override
  public boolean isGguf() {
    return false;
  }

  @Override
  public JsonNode config() {
    return config;
  }

  @Override
  public JsonNode generationConfig() {
    return generationConfig;
  }

  @Override
  public ObjectNode tokenizerConfig() {
    return tokenizerConfig;
  }

  @Override
  TensorFile weights() {
    return weights;
  }

  @Override
  Tokenizer loadTokenizer() {
    return Tokenizer.open(path());
  }

  /** An end of turn that generation stops at beside EOS has a key of its own. */
  @Override
  Map<String, Object> ggufTokenizer(int rows) {
    Map<String, Object> metadata = GgufVocabulary.metadata(tokenizer(), rows, path());
    int eos = tokenizer().eosId().orElse(-1);
    eosIds().stream()
        .filter(id -> id != eos)
        .findFirst()
        .ifPresent(id -> metadata.put("tokenizer.ggml.eot_token_id", (long) id));
    chatTemplateSource().ifPresent(t -> metadata.put("tokenizer.chat_template", t));
    return metadata;
  }

  /** What a folder of a configuration alone holds. */
  private record NoWeights(Path path) implements TensorFile {
    @Override
    public Map<String, StoredTensor> tensors() {
      return Map.of();
    }

    @Override
    public void close() {}
  }
}
