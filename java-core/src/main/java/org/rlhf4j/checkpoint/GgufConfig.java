package org.rlhf4j.checkpoint;

import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.LinkedHashSet;
import java.util.Set;
import org.rlhf4j.InputException;
import org.rlhf4j.json.Json;

/**
 * Writes a GGUF file's metadata as the config.json and generation_config.json that its model had.
 */
final class GgufConfig {
  private static final Set<String> ENDS_OF_TURN =
      Set.of("<|eot_id|>", "<|im_end|>", "<end_of_turn>", "<|end|>", "<|eot|>", "<turn|>");

  private final GgufFile gguf;
  private final GgufMetadata metadata;
  private final Path file;
  private final String architecture;

  private GgufConfig(GgufFile gguf) {
    this.gguf = gguf;
    this.metadata = gguf.metadata();
    this.file = gguf.path();
    this.architecture = metadata.require("general.architecture", String.class);
  }

  static ObjectNode config(GgufFile gguf) {
    return new GgufConfig(gguf).config();
  }

  private ObjectNode config() {
    ObjectNode config = Json.MAPPER.createObjectNode();
    config.putArray("architectures").add(GgufArchitecture.of(architecture, file).modelClass());
    switch (architecture) {
      case "gpt2" -> gpt2(config);
      case "gemma3" -> gemma3(config);
      case "phi3" -> phi3(config);
      default -> {
        rotary(config, architecture, 10000.0);
        wholeHead(config);
      }
    }
    config.put("vocab_size", gguf.tensor("token_embd.weight").shape()[0]);
    config.put("tie_word_embeddings", !gguf.tensors().containsKey("output.weight"));
    if (architecture.equals("llama")) {
      config.put("attention_bias", gguf.tensors().containsKey("blk.0.attn_q.bias"));
      config.put("mlp_bias", gguf.tensors().containsKey("blk.0.ffn_up.bias"));
    }
    tokenId(config, "bos_token_id", "tokenizer.ggml.bos_token_id");
    tokenId(config, "eos_token_id", "tokenizer.ggml.eos_token_id");
    tokenId(config, "pad_token_id", "tokenizer.ggml.padding_token_id");
    return config;
  }

  /** What all decoders with rotary positions have. */
  private void rotary(ObjectNode config, String modelType, double theta) {
    long hidden = positive("embedding_length");
    long heads = positive("attention.head_count");
    if (hidden % heads != 0 && !metadata.has(architecture + ".attention.key_length")) {
      throw InputException.at(
          file, "embedding_length " + hidden + " is no multiple of attention.head_count " + heads);
    }
    config.put("model_type", modelType);
    config.put("hidden_size", hidden);
    config.put("intermediate_size", positive("feed_forward_length"));
    config.put("num_hidden_layers", positive("block_count"));
    config.put("num_attention_heads", heads);
    config.put("num_key_value_heads", optional("attention.head_count_kv", heads));
    config.put("head_dim", optional("attention.key_length", hidden / heads));
    config.put("hidden_act", "silu");
    config.put("max_position_embeddings", positive("context_length"));
    config.put("rms_norm_eps", decimal("attention.layer_norm_rms_epsilon", null));
    config.put("rope_theta", decimal("rope.freq_base", theta));
    ropeScaling(config, config.get("head_dim").longValue());
  }

  private void wholeHead(ObjectNode config) {
    long headDim = config.get("head_dim").longValue();
    long rotary = optional("rope.dimension_count", headDim);
    if (rotary != headDim) {
      throw InputException.at(
          file,
          architecture
              + ".rope.dimension_count: expected the whole head ("
              + headDim
              + "), found "
              + rotary);
    }
  }

  /** llama.cpp knows by heart what the format does not say: every sixth layer sees everything. */
  private void gemma3(ObjectNode config) {
    rotary(config, "gemma3_text", 1e6);
    wholeHead(config);
    config.remove("hidden_act");
    config.put("hidden_activation", "gelu_pytorch_tanh");
    config.put("rope_local_base_freq", decimal("rope.freq_base_swa", 10000.0));
    config.put("sliding_window", positive("attention.sliding_window"));
    config.put("sliding_window_pattern", optional("attention.sliding_window_pattern", 6));
    // The largest model, of 62 layers, alone scales by the mean head size.
    boolean largest = config.get("num_hidden_layers").longValue() == 62;
    config.put(
        "query_pre_attn_scalar",
        largest
            ? config.get("hidden_size").longValue() / config.get("num_attention_heads").longValue()
            : config.get("head_dim").longValue());
  }

  private void phi3(ObjectNode config) {
    rotary(config, "phi3", 10000.0);
    long headDim = config.get("head_dim").longValue();
    long columns = optional("rope.dimension_count", headDim);
    config.put("partial_rotary_factor", (double) columns / headDim);
    long longest = config.get("max_position_embeddings").longValue();
    config.put(
        "original_max_position_embeddings",
        optional("rope.scaling.original_context_length", longest));
    long window = metadata.integer(architecture + ".attention.sliding_window").orElse(0);
    if (window > 0) {
      config.put("sliding_window", window);
    }
    if (gguf.tensors().containsKey("rope_factors_short.weight")) {
      ObjectNode scaling = config.putObject("rope_scaling");
      scaling.put("rope_type", "longrope");
      factors(scaling.putArray("short_factor"), "rope_factors_short.weight");
      factors(scaling.putArray("long_factor"), "rope_factors_long.weight");
      if (metadata.has(architecture + ".rope.scaling.attn_factor")) {
        scaling.put("attention_factor", decimal("rope.scaling.attn_factor", null));
      }
    }
  }

  private void factors(ArrayNode list, String name) {
    StoredTensor stored = gguf.tensor(name);
    float[] values = new float[(int) stored.elements()];
    stored.read(0, values.length, values, 0);
    for (float value : values) {
      list.add(Double.parseDouble(Float.toString(value)));
    }
  }

  private void gpt2(ObjectNode config) {
    config.put("model_type", "gpt2");
    config.put("n_embd", positive("embedding_length"));
    config.put("n_inner", positive("feed_forward_length"));
    config.put("n_layer", positive("block_count"));
    config.put("n_head", positive("attention.head_count"));
    config.put("n_positions", positive("context_length"));
    config.put("layer_norm_epsilon", decimal("attention.layer_norm_epsilon", null));
    config.put("activation_function", "gelu_new");
  }

  /**
   * Generation ends at EOS, and at the end-of-turn token: Llama 3's chat models end a turn with the
   * latter. Where the file does not name one, it is the control token of that name which the chat
   * template writes.
   */
  static ObjectNode generationConfig(GgufFile gguf) {
    GgufMetadata metadata = gguf.metadata();
    ObjectNode config = Json.MAPPER.createObjectNode();
    metadata
        .integer("tokenizer.ggml.bos_token_id")
        .ifPresent(id -> config.put("bos_token_id", (int) id));
    Set<Integer> ends = new LinkedHashSet<>();
    metadata.integer("tokenizer.ggml.eos_token_id").ifPresent(id -> ends.add((int) id));
    metadata
        .integer("tokenizer.ggml.eot_token_id")
        .ifPresentOrElse(id -> ends.add((int) id), () -> ends.addAll(endsOfTurn(metadata)));
    if (ends.size() == 1) {
      config.put("eos_token_id", ends.iterator().next());
    } else if (ends.size() > 1) {
      ArrayNode list = config.putArray("eos_token_id");
      ends.forEach(list::add);
    }
    metadata
        .integer("tokenizer.ggml.padding_token_id")
        .ifPresent(id -> config.put("pad_token_id", (int) id));
    return config;
  }

  /** The ids of the known end-of-turn tokens that the chat template writes. */
  private static Set<Integer> endsOfTurn(GgufMetadata metadata) {
    String template = metadata.get("tokenizer.chat_template", String.class);
    String[] tokens = metadata.get("tokenizer.ggml.tokens", String[].class);
    Set<Integer> ids = new LinkedHashSet<>();
    for (int id = 0; template != null && tokens != null && id < tokens.length; id++) {
      if (ENDS_OF_TURN.contains(tokens[id]) && template.contains(tokens[id])) {
        ids.add(id);
      }
    }
    return ids;
  }

  private void ropeScaling(ObjectNode config, long headDim) {
    StoredTensor factors = gguf.tensors().get("rope_freqs.weight");
    if (factors != null) {
      if (factors.elements() != headDim / 2) {
        throw InputException.at(
            file,
            "tensor 'rope_freqs.weight': expected "
                + headDim / 2
                + " factors, found "
                + factors.elements());
      }
      float[] values = new float[(int) factors.elements()];
      factors.read(0, values.length, values, 0);
      config.set(
          "rope_scaling", RopeFactors.describe(values, config.get("rope_theta").doubleValue()));
      return;
    }
    String type = metadata.get(architecture + ".rope.scaling.type", String.class);
    if (type == null || type.equals("none")) {
      return;
    }
    if (!type.equals("linear") && !type.equals("yarn") && !type.equals("longrope")) {
      throw InputException.at(
          file,
          architecture
              + ".rope.scaling.type: expected none, linear, yarn, longrope or a tensor"
              + " rope_freqs.weight, found '"
              + type
              + "'");
    }
    if (type.equals("longrope")) {
      return; // said by tensors
    }
    ObjectNode scaling = config.putObject("rope_scaling");
    scaling.put("rope_type", type);
    scaling.put("factor", decimal("rope.scaling.factor", 1.0));
    if (type.equals("yarn")) {
      scaling.put(
          "original_max_position_embeddings",
          optional(
              "rope.scaling.original_context_length",
              config.get("max_position_embeddings").longValue()));
    }
  }

  private void tokenId(ObjectNode config, String name, String key) {
    metadata
        .integer(key)
        .ifPresentOrElse(id -> config.put(name, (int) id), () -> config.putNull(name));
  }

  private long positive(String key) {
    long value = integer(architecture + "." + key);
    if (value < 1 || value > Integer.MAX_VALUE) {
      throw InputException.at(
          file, architecture + "." + key + ": expected a positive number, found " + value);
    }
    return value;
  }

  private long optional(String key, long byDefault) {
    return metadata.has(architecture + "." + key) ? positive(key) : byDefault;
  }

  /** A number, or a list (one for each layer) of equal numbers. */
  private long integer(String key) {
    Object value = metadata.values().get(key);
    if (value instanceof long[] each
        && each.length > 0
        && Arrays.stream(each).distinct().count() == 1) {
      return each[0];
    }
    if (value instanceof long[]) {
      throw InputException.at(file, key + ": layers that differ are not supported");
    }
    return metadata.require(key, Long.class);
  }

  /** A float as the decimal number that was meant: 1e-5, not 9.999999747378752e-6. */
  private double decimal(String key, Double byDefault) {
    Object value = metadata.values().get(architecture + "." + key);
    if (value instanceof Float f) {
      return Double.parseDouble(f.toString());
    }
    if (value == null && byDefault != null) {
      return byDefault;
    }
    return metadata.require(architecture + "." + key, Double.class);
  }
}
