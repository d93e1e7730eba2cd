package org.rlhf4j.checkpoint;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.rlhf4j.InputException;
import org.rlhf4j.json.Json;
import org.rlhf4j.tokenizer.GgufTokenizer;
import org.rlhf4j.tokenizer.SpecialTokens;
import org.rlhf4j.tokenizer.Tokenizer;

/** A GGUF file of a family that {@link GgufArchitecture} knows, seen as a Hugging Face model. */
final class GgufModel extends ModelFiles {
  private final GgufFile gguf;
  private final GgufArchitecture architecture;
  private final ObjectNode config;
  private final ObjectNode generationConfig;
  private final TensorFile weights;
  private ObjectNode tokenizerConfig;

  private GgufModel(GgufFile gguf) {
    super(gguf.path());
    this.gguf = gguf;
    this.architecture =
        GgufArchitecture.of(
            gguf.metadata().require("general.architecture", String.class), gguf.path());
    this.config = GgufConfig.config(gguf);
    this.generationConfig = GgufConfig.generationConfig(gguf);
    this.weights = new Renamed(gguf, Collections.unmodifiableMap(rename()));
  }

  static GgufModel openFile(Path path) {
    GgufFile gguf = GgufFile.open(path);
    try {
      return new GgufModel(gguf);
    } catch (RuntimeException e) {
      gguf.close();
      throw e;
    }
  }

  private Map<String, StoredTensor> rename() {
    Map<String, StoredTensor> result = new LinkedHashMap<>();
    List<String> unknown = new ArrayList<>();
    for (StoredTensor tensor : gguf.tensors().values()) {
      String name = architecture.toHuggingFace(tensor.name());
      if (name != null) {
        result.put(name, restored(name, tensor));
      } else if (!tensor.name().startsWith("rope_")) { // those are in config()
        unknown.add(tensor.name());
      }
    }
    if (!unknown.isEmpty()) {
      throw InputException.at(
          path(),
          "tensors that a "
              + config.get("model_type").textValue()
              + " model does not have: "
              + String.join(", ", unknown.subList(0, Math.min(5, unknown.size())))
              + (unknown.size() > 5 ? " and " + (unknown.size() - 5) + " more" : ""));
    }
    return result;
  }

  /** The tensor as it was before llama.cpp's converter. */
  private StoredTensor restored(String name, StoredTensor tensor) {
    StoredTensor renamed = new RenamedTensor(name, tensor);
    boolean inLayer = name.startsWith(architecture.prefix());
    return switch (architecture.values()) {
      case AS_IS -> renamed;
      case ROTARY_PAIRS -> {
        if (!name.contains(".q_proj.") && !name.contains(".k_proj.")) {
          yield renamed;
        }
        checkRows(tensor);
        yield RowPermutedTensor.undoRotaryPairs(name, tensor, config.get("head_dim").longValue());
      }
      case NORMS_PLUS_ONE ->
          name.endsWith("norm.weight") ? ConvertedTensor.plus(renamed, -1) : renamed;
      case TRANSPOSED ->
          inLayer && tensor.shape().length == 2 ? ConvertedTensor.transposed(renamed) : renamed;
    };
  }

  private void checkRows(StoredTensor tensor) {
    boolean query = tensor.name().contains("attn_q");
    long expected =
        config.get(query ? "num_attention_heads" : "num_key_value_heads").longValue()
            * config.get("head_dim").longValue();
    long[] shape = tensor.shape();
    if (shape.length == 0 || shape[0] != expected || tensor.byteSize() % expected != 0) {
      throw InputException.at(
          path(),
          "tensor '"
              + tensor.name()
              + "': expected "
              + expected
              + " rows (heads times head size), found "
              + (shape.length == 0 ? "a scalar" : shape[0]));
    }
  }

  @Override
  public boolean isGguf() {
    return true;
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
  public synchronized ObjectNode tokenizerConfig() {
    if (tokenizerConfig == null) {
      SpecialTokens special = tokenizer().specialTokens();
      ObjectNode json = Json.MAPPER.createObjectNode();
      json.put("bos_token", special.bos());
      json.put("eos_token", special.eos());
      json.put("pad_token", special.pad());
      json.put("unk_token", special.unk());
      json.put("clean_up_tokenization_spaces", false);
      gguf.metadata()
          .integer(
              gguf.metadata().require("general.architecture", String.class) + ".context_length")
          .ifPresent(length -> json.put("model_max_length", length));
      json.put("tokenizer_class", "PreTrainedTokenizerFast");
      String template = gguf.metadata().get("tokenizer.chat_template", String.class);
      if (template != null) {
        json.put("chat_template", template);
      }
      tokenizerConfig = json;
    }
    return tokenizerConfig;
  }

  @Override
  TensorFile weights() {
    return weights;
  }

  @Override
  Tokenizer loadTokenizer() {
    return GgufTokenizer.open(path(), gguf.metadata().values());
  }

  /** As it is. */
  @Override
  Map<String, Object> ggufTokenizer(int rows) {
    Map<String, Object> tokenizer = new LinkedHashMap<>(gguf.metadata().values());
    tokenizer.keySet().removeIf(key -> !key.startsWith("tokenizer."));
    return tokenizer;
  }

  /** The file's tensors under their Hugging Face names. */
  private record Renamed(GgufFile gguf, Map<String, StoredTensor> tensors) implements TensorFile {
    @Override
    public Path path() {
      return gguf.path();
    }

    @Override
    public void close() {
      gguf.close();
    }
  }
}
