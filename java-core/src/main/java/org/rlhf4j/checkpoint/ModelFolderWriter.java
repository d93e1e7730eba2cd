package org.rlhf4j.checkpoint;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectWriter;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.rlhf4j.json.Json;

/**
 * Writes a Hugging Face folder that transformers loads: config.json, generation_config.json,
 * tokenizer.json, tokenizer_config.json, chat_template.jinja, and the weights with an index where
 * they need several files.
 */
public final class ModelFolderWriter {
  /** Larger models are split into files of at most this size, as {@code save_pretrained} does. */
  public static final long SHARD_BYTES = 5_000_000_000L;

  private static final ObjectWriter PRETTY = Json.MAPPER.writerWithDefaultPrettyPrinter();

  private ModelFolderWriter() {}

  /**
   * Everything but the weights.
   *
   * @param type of all weights that are not quantised, and of products
   * @param quantization of the weights that lie beside; not AUTO
   */
  public static void writeConfiguration(
      ModelFiles model, Path folder, FloatType type, Quantization quantization) throws IOException {
    Files.createDirectories(folder);
    ObjectNode config = model.config().deepCopy();
    config.put(config.has("dtype") ? "dtype" : "torch_dtype", type.torchName());
    config.remove("quantization_config"); // of the weights as they were stored
    if (quantization.isNf4()) {
      config.set("quantization_config", BitsAndBytes.config(quantization.isNested(), type));
    }
    expressFactors(config);
    AtomicFile.write(folder.resolve("config.json"), pretty(config));
    if (!model.generationConfig().isEmpty()) {
      AtomicFile.write(folder.resolve("generation_config.json"), pretty(model.generationConfig()));
    }
    if (model.hasTokenizer()) {
      writeTokenizer(model, folder);
    }
  }

  /**
   * Makes the config.json of {@code folder} that of a model with one score (score.weight in place
   * of lm_head.weight), which transformers' AutoModelForSequenceClassification loads.
   */
  public static void declareRewardModel(Path folder) throws IOException {
    ObjectNode config = Json.readObject(folder.resolve("config.json"));
    String causal = config.path("architectures").path(0).asText();
    config.putArray("architectures").add(causal.replace("CausalLM", "SequenceClassification"));
    config.putObject("id2label").put("0", "LABEL_0");
    config.putObject("label2id").put("LABEL_0", 0);
    AtomicFile.write(folder.resolve("config.json"), pretty(config));
  }

  /** The tokenizer's files alone: an adapter's folder has them too. */
  public static void writeTokenizer(ModelFiles model, Path folder) throws IOException {
    AtomicFile.write(folder.resolve("tokenizer.json"), model.tokenizer().tokenizerJson());
    ObjectNode tokenizerConfig = model.tokenizerConfig().deepCopy();
    AtomicFile.write(folder.resolve("tokenizer_config.json"), pretty(tokenizerConfig));
    if (model.chatTemplateSource().isPresent()) {
      AtomicFile.write(folder.resolve("chat_template.jinja"), model.chatTemplateSource().get());
    }
  }

  /**
   * The weights in the order given: model.safetensors, or several files and
   * model.safetensors.index.json. Weights that the folder had before in the other form are removed,
   * since they would be read instead.
   *
   * @param shardBytes the most a file holds, unless one tensor alone is larger
   */
  public static void writeWeights(Path folder, List<TensorToWrite> tensors, long shardBytes)
      throws IOException {
    Files.createDirectories(folder);
    List<List<TensorToWrite>> shards = new ArrayList<>();
    long total = 0;
    long inShard = 0;
    for (TensorToWrite tensor : tensors) {
      if (shards.isEmpty() || inShard > 0 && inShard + tensor.byteSize() > shardBytes) {
        shards.add(new ArrayList<>());
        inShard = 0;
      }
      shards.get(shards.size() - 1).add(tensor);
      inShard += tensor.byteSize();
      total += tensor.byteSize();
    }
    Path index = folder.resolve("model.safetensors.index.json");
    Path single = folder.resolve("model.safetensors");
    if (shards.size() <= 1) {
      SafetensorsWriter.write(single, tensors);
      Files.deleteIfExists(index);
      return;
    }
    Map<String, String> files = new LinkedHashMap<>();
    for (int i = 0; i < shards.size(); i++) {
      String name = String.format("model-%05d-of-%05d.safetensors", i + 1, shards.size());
      SafetensorsWriter.write(folder.resolve(name), shards.get(i));
      shards.get(i).forEach(t -> files.put(t.name(), name));
    }
    AtomicFile.write(index, index(total, files));
    Files.deleteIfExists(single);
  }

  private static String index(long total, Map<String, String> files)
      throws JsonProcessingException {
    ObjectNode index = Json.MAPPER.createObjectNode();
    index.putObject("metadata").put("total_size", total);
    ObjectNode map = index.putObject("weight_map");
    files.forEach(map::put);
    return pretty(index);
  }

  /**
   * Rotary factors of no known formula are what transformers calls longrope, with both lists equal
   * and no attention factor.
   */
  private static void expressFactors(ObjectNode config) {
    JsonNode scaling = config.path("rope_scaling");
    if (!scaling.path("rope_type").asText().equals("factors")) {
      return;
    }
    ObjectNode expressed = config.putObject("rope_scaling");
    expressed.put("rope_type", "longrope");
    expressed.set("short_factor", scaling.get("factors"));
    expressed.set("long_factor", scaling.get("factors"));
    expressed.put("factor", 1.0);
    expressed.put("attention_factor", 1.0);
    expressed.set("original_max_position_embeddings", config.get("max_position_embeddings"));
  }

  private static String pretty(JsonNode node) throws JsonProcessingException {
    return PRETTY.writeValueAsString(node) + "\n";
  }
}
