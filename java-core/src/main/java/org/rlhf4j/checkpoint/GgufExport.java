package org.rlhf4j.checkpoint;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Function;
import org.rlhf4j.InputException;

/**
 * Writes a model as one GGUF file, by the conventions of llama.cpp's converter: its metadata keys
 * and tensor names, the rows of query and key projections reordered where its architecture rotates
 * neighbouring elements, vectors in f32, and the tokenizer inside.
 */
public final class GgufExport {
  /**
   * How llama.cpp knows a family.
   *
   * @param rotaryPairs whether its rotary embedding takes neighbours (2i, 2i + 1) rather than (i, i
   *     + half)
   */
  private record Family(String architecture, boolean rotaryPairs) {}

  private static final Map<String, Family> FAMILIES =
      Map.of(
          "llama", new Family("llama", true),
          "mistral", new Family("llama", true),
          "qwen2", new Family("qwen2", false),
          "qwen3", new Family("qwen3", false));

  private final ModelFiles model;
  private final JsonNode config;
  private final Family family;
  private final GgufType type;
  private final Map<String, Object> metadata = new LinkedHashMap<>();
  private final List<GgufTensor> tensors = new ArrayList<>();

  private GgufExport(ModelFiles model, GgufType type) {
    this.model = model;
    this.config = model.config();
    this.type = type;
    String modelType = config.path("model_type").asText();
    this.family = FAMILIES.get(modelType);
    if (family == null) {
      throw InputException.at(
          model.path(),
          "model_type '"
              + modelType
              + "' cannot be written as GGUF; expected one of "
              + FAMILIES.keySet().stream().sorted().toList());
    }
  }

  /**
   * @param values gives each tensor's values: the tensor itself, or what is merged into it
   * @param type of the matrices; where their rows are no whole blocks, f16
   * @throws InputException for a family, rotary scaling or tokenizer that has no place in the
   *     format
   */
  public static void write(
      ModelFiles model, Function<StoredTensor, FloatSource> values, Path file, GgufType type)
      throws IOException {
    GgufExport export = new GgufExport(model, type);
    export.describe();
    export.rope();
    long rows = model.tensor("model.embed_tokens.weight").shape()[0];
    export.metadata.putAll(model.ggufTokenizer(Math.toIntExact(rows)));
    export.collect(values);
    GgufWriter.write(file, export.metadata, export.tensors);
  }

  private void describe() {
    long hidden = number("hidden_size");
    long heads = number("num_attention_heads");
    metadata.put("general.architecture", family.architecture());
    metadata.put("general.type", "model");
    metadata.put("general.name", name());
    metadata.put("general.file_type", (long) type.fileType());
    metadata.put("general.quantization_version", 2L);
    put("vocab_size", model.tensor("model.embed_tokens.weight").shape()[0]);
    put("context_length", contextLength());
    put("embedding_length", hidden);
    put("block_count", number("num_hidden_layers"));
    put("feed_forward_length", number("intermediate_size"));
    put("attention.head_count", heads);
    put("attention.head_count_kv", config.path("num_key_value_heads").asLong(heads));
    put("attention.key_length", headSize());
    put("attention.value_length", headSize());
    put("attention.layer_norm_rms_epsilon", (float) config.path("rms_norm_eps").asDouble(1e-6));
    put("rope.dimension_count", headSize());
  }

  /** The last part of the path, without the file's ending. */
  private String name() {
    Path last = model.path().toAbsolutePath().normalize().getFileName();
    return last == null ? "model" : last.toString().replaceFirst("\\.gguf$", "");
  }

  /**
   * llama.cpp's llama architecture has no sliding window. Within one window it makes no difference,
   * so that far the file says that it goes.
   */
  private long contextLength() {
    long positions = config.path("max_position_embeddings").asLong(2048);
    boolean slides = config.path("model_type").asText().equals("mistral");
    long window = slides ? config.path("sliding_window").asLong(0) : 0;
    return window > 0 ? Math.min(window, positions) : positions;
  }

  private long headSize() {
    return config.hasNonNull("head_dim")
        ? number("head_dim")
        : number("hidden_size") / number("num_attention_heads");
  }

  private void rope() {
    JsonNode rope =
        config.has("rope_parameters") ? config.get("rope_parameters") : config.path("rope_scaling");
    JsonNode base = rope.has("rope_theta") ? rope.get("rope_theta") : config.path("rope_theta");
    double theta = base.asDouble(10000);
    put("rope.freq_base", (float) theta);
    String kind = rope.path("rope_type").asText(rope.path("type").asText("default"));
    switch (kind) {
      case "default" -> {}
      case "linear" -> {
        put("rope.scaling.type", "linear");
        put("rope.scaling.factor", (float) rope.path("factor").asDouble(1));
      }
      case "llama3" -> addFactors(RopeFactors.llama3(rope, theta, (int) headSize() / 2));
      case "factors" -> {
        float[] factors = new float[rope.path("factors").size()];
        for (int i = 0; i < factors.length; i++) {
          factors[i] = rope.path("factors").get(i).floatValue();
        }
        addFactors(factors);
      }
      default ->
          throw InputException.at(
              model.path(),
              "rope_type '"
                  + kind
                  + "' cannot be written as GGUF; expected default, linear or llama3");
    }
  }

  private void addFactors(float[] factors) {
    FloatSource source =
        (first, count, into, offset) -> System.arraycopy(factors, (int) first, into, offset, count);
    tensors.add(
        new GgufTensor("rope_freqs.weight", GgufType.F32, new long[] {factors.length}, source));
  }

  private void collect(Function<StoredTensor, FloatSource> values) {
    boolean tied = config.path("tie_word_embeddings").asBoolean(false);
    for (StoredTensor tensor : model.tensors().values()) {
      String hf = tensor.name();
      if (hf.endsWith(".rotary_emb.inv_freq") || tied && hf.equals("lm_head.weight")) {
        continue; // a buffer that old files have, and a second copy of the embedding
      }
      String name = GgufNames.toGguf(hf);
      if (name == null) {
        throw InputException.at(
            model.path(), "tensor '" + hf + "' has no place in a GGUF file of this family");
      }
      FloatSource source = values.apply(tensor);
      if (family.rotaryPairs() && (hf.contains(".q_proj.") || hf.contains(".k_proj."))) {
        source = toRotaryPairs(source, tensor.elements() / tensor.shape()[0], headSize());
      }
      tensors.add(new GgufTensor(name, typeOf(tensor.shape()), tensor.shape(), source));
    }
  }

  private GgufType typeOf(long[] shape) {
    if (shape.length < 2) {
      return GgufType.F32;
    }
    boolean wholeBlocks = shape[shape.length - 1] % type.storage().blockElements == 0;
    return wholeBlocks ? type : GgufType.F16;
  }

  /**
   * Row (head, half, i) becomes row (head, i, half): the other way round than {@link
   * RowPermutedTensor#undoRotaryPairs}.
   */
  private static FloatSource toRotaryPairs(FloatSource from, long columns, long headSize) {
    return (first, count, into, offset) -> {
      for (int done = 0; done < count; ) {
        long row = (first + done) / columns;
        long column = (first + done) % columns;
        long inHead = row % headSize;
        long source = row - inHead + inHead % 2 * (headSize / 2) + inHead / 2;
        int now = (int) Math.min(columns - column, count - done);
        from.read(source * columns + column, now, into, offset + done);
        done += now;
      }
    };
  }

  private void put(String key, Object value) {
    metadata.put(family.architecture() + "." + key, value);
  }

  private long number(String key) {
    JsonNode value = config.path(key);
    if (!value.isIntegralNumber() || value.longValue() < 1) {
      throw InputException.at(
          model.path(), "expected a positive number for '" + key + "', found " + value);
    }
    return value.longValue();
  }
}
