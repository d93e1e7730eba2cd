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
  /** llama.cpp's architecture by transformers' model_type. */
  private static final Map<String, String> ARCHITECTURES =
      Map.of(
          "llama", "llama",
          "mistral", "llama",
          "qwen2", "qwen2",
          "qwen3", "qwen3",
          "gpt2", "gpt2");

  private final ModelFiles model;
  private final JsonNode config;
  private final String architecture;
  private final GgufArchitecture names;
  private final StoredTensor embedding;
  private final GgufType type;
  private final Map<String, Object> metadata = new LinkedHashMap<>();
  private final List<GgufTensor> tensors = new ArrayList<>();

  private GgufExport(ModelFiles model, GgufType type) {
    this.model = model;
    this.config = model.config();
    this.type = type;
    String modelType = config.path("model_type").asText();
    this.architecture = ARCHITECTURES.get(modelType);
    if (architecture == null) {
      throw InputException.at(
          model.path(),
          "model_type '"
              + modelType
              + "' cannot be written as GGUF; expected one of "
              + ARCHITECTURES.keySet().stream().sorted().toList());
    }
    this.names = GgufArchitecture.of(architecture, model.path());
    this.embedding = model.tensor(names.toHuggingFace("token_embd.weight"));
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
    if (export.architecture.equals("gpt2")) {
      export.gpt2();
    } else {
      export.decoder();
      export.rope();
    }
    export.metadata.putAll(model.ggufTokenizer(Math.toIntExact(export.embedding.shape()[0])));
    if (!model.isGguf()) {
      export.ends();
    }
    export.collect(values);
    GgufWriter.write(file, export.metadata, export.tensors);
  }

  private void describe() {
    metadata.put("general.architecture", architecture);
    metadata.put("general.type", "model");
    metadata.put("general.name", name());
    metadata.put("general.file_type", (long) type.fileType());
    metadata.put("general.quantization_version", 2L);
    put("vocab_size", embedding.shape()[0]);
  }

  /**
   * A GGUF file has room for two tokens that end a generation. With one, both are it: left open,
   * readers would look for a second in the vocabulary.
   */
  private void ends() {
    Object eos = metadata.get("tokenizer.ggml.eos_token_id");
    if (eos instanceof Long first) {
      long second =
          model.eosIds().stream()
              .mapToLong(id -> id)
              .filter(id -> id != first)
              .findFirst()
              .orElse(first);
      metadata.put("tokenizer.ggml.eot_token_id", second);
    }
  }

  private void gpt2() {
    long hidden = number("n_embd");
    put("context_length", number("n_positions"));
    put("embedding_length", hidden);
    put("block_count", number("n_layer"));
    put("feed_forward_length", config.path("n_inner").asLong(4 * hidden));
    put("attention.head_count", number("n_head"));
    put("attention.layer_norm_epsilon", (float) config.path("layer_norm_epsilon").asDouble(1e-5));
  }

  private void decoder() {
    long heads = number("num_attention_heads");
    put("context_length", contextLength());
    put("embedding_length", number("hidden_size"));
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
    boolean tied = config.path("tie_word_embeddings").asBoolean(architecture.equals("gpt2"));
    for (StoredTensor tensor : model.tensors().values()) {
      String hf = tensor.name();
      if (isBuffer(hf) || tied && hf.equals("lm_head.weight")) {
        continue;
      }
      String name = names.toGguf(hf);
      if (name == null) {
        throw InputException.at(
            model.path(), "tensor '" + hf + "' has no place in a GGUF file of this family");
      }
      tensors.add(converted(name, tensor, values.apply(tensor)));
    }
  }

  /** What old checkpoints hold beside their parameters: rotary frequencies, causal masks. */
  private static boolean isBuffer(String name) {
    return name.endsWith(".rotary_emb.inv_freq")
        || name.endsWith(".attn.bias")
        || name.endsWith(".attn.masked_bias");
  }

  /** As llama.cpp's converter changes it. */
  private GgufTensor converted(String name, StoredTensor tensor, FloatSource values) {
    long[] shape = tensor.shape();
    boolean rotary = name.contains(".attn_q.") || name.contains(".attn_k.");
    FloatSource source = values;
    switch (names.values()) {
      case ROTARY_PAIRS -> {
        if (rotary) {
          source = toRotaryPairs(values, tensor.elements() / shape[0], headSize());
        }
      }
      case TRANSPOSED -> {
        if (shape.length == 2 && name.startsWith("blk.")) {
          source = transposed(values, shape);
          shape = new long[] {shape[1], shape[0]};
        }
      }
      case AS_IS -> {}
      case NORMS_PLUS_ONE ->
          throw new IllegalStateException(architecture + " is not among those written");
    }
    return new GgufTensor(name, typeOf(name, shape), shape, source);
  }

  /** Positions stay f32, like all that is no matrix of a product. */
  private GgufType typeOf(String name, long[] shape) {
    if (shape.length < 2 || name.equals("position_embd.weight")) {
      return GgufType.F32;
    }
    boolean wholeBlocks = shape[shape.length - 1] % type.storage().blockElements == 0;
    return wholeBlocks ? type : GgufType.F16;
  }

  /** A matrix of {@code shape} as its transpose; read whole, once, when it is first asked for. */
  private static FloatSource transposed(FloatSource from, long[] shape) {
    int elements = Math.toIntExact(shape[0] * shape[1]);
    float[][] whole = new float[1][];
    return (first, count, into, offset) -> {
      if (whole[0] == null) {
        float[] values = new float[elements];
        from.read(0, elements, values, 0);
        whole[0] = ConvertedTensor.transpose(values, shape);
      }
      System.arraycopy(whole[0], (int) first, into, offset, count);
      if (first + count == elements) {
        whole[0] = null; // ranges come once, in order
      }
    };
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
    metadata.put(architecture + "." + key, value);
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
