package org.rlhf4j.nn;

import com.fasterxml.jackson.databind.JsonNode;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.rlhf4j.InputException;

/**
 * A decoder's shape, from Hugging Face's config.json.
 *
 * @param slidingWindow keys a query sees; 0: all
 * @param attentionBias whether q, k and v have a bias
 */
public record ModelConfig(
    String modelType,
    int vocabSize,
    int hiddenSize,
    int intermediateSize,
    int layers,
    int heads,
    int kvHeads,
    int headSize,
    float rmsNormEps,
    double ropeTheta,
    Optional<RopeScaling> ropeScaling,
    int maxPositions,
    boolean tieWordEmbeddings,
    int slidingWindow,
    boolean attentionBias) {

  /** Llama 3's stretching of the low frequencies. */
  public record RopeScaling(
      double factor, double lowFreqFactor, double highFreqFactor, int originalMaxPositions) {}

  /** What a family adds to the Llama wiring. */
  private record Family(boolean attentionBias, boolean slidingWindow) {}

  private static final Map<String, Family> FAMILIES =
      Map.of(
          "llama", new Family(false, false),
          "mistral", new Family(false, true),
          "qwen2", new Family(true, false));

  /** The values of "model_type" that load. */
  public static List<String> supported() {
    return FAMILIES.keySet().stream().sorted().toList();
  }

  /**
   * @param where names the file in messages
   * @throws InputException if a key is missing or asks for what is not supported
   */
  public static ModelConfig from(JsonNode json, String where) {
    String type = json.path("model_type").asText("");
    Family family = FAMILIES.get(type);
    if (family == null) {
      throw new InputException(
          where + ": model_type '" + type + "' is not supported; expected one of " + supported());
    }
    String act = json.path("hidden_act").asText("silu");
    if (!act.equals("silu")) {
      throw new InputException(
          where + ": hidden_act '" + act + "' is not supported; expected 'silu'");
    }
    if (json.path("mlp_bias").asBoolean(false)
        || (json.path("attention_bias").asBoolean(false) && !family.attentionBias())) {
      throw new InputException(
          where + ": biases in attention or MLP are not supported for model_type '" + type + "'");
    }
    int hidden = required(json, "hidden_size", where);
    int heads = required(json, "num_attention_heads", where);
    int kvHeads = json.path("num_key_value_heads").asInt(heads);
    int headSize = json.hasNonNull("head_dim") ? json.get("head_dim").asInt() : hidden / heads;
    if (kvHeads <= 0 || heads % kvHeads != 0 || headSize % 2 != 0) {
      throw new InputException(
          where
              + ": expected num_attention_heads to be a multiple of num_key_value_heads and an even head size, found "
              + heads
              + ", "
              + kvHeads
              + " and "
              + headSize);
    }
    JsonNode rope =
        json.has("rope_parameters") ? json.get("rope_parameters") : json.path("rope_scaling");
    JsonNode theta = rope.has("rope_theta") ? rope.get("rope_theta") : json.path("rope_theta");
    int window =
        family.slidingWindow() && json.path("sliding_window").isNumber()
            ? json.get("sliding_window").asInt()
            : 0;
    return new ModelConfig(
        type,
        required(json, "vocab_size", where),
        hidden,
        required(json, "intermediate_size", where),
        required(json, "num_hidden_layers", where),
        heads,
        kvHeads,
        headSize,
        (float) json.path("rms_norm_eps").asDouble(1e-6),
        theta.asDouble(10000),
        ropeScaling(rope, where),
        json.path("max_position_embeddings").asInt(2048),
        json.path("tie_word_embeddings").asBoolean(false),
        window,
        family.attentionBias());
  }

  private static Optional<RopeScaling> ropeScaling(JsonNode rope, String where) {
    String type = rope.path("rope_type").asText(rope.path("type").asText("default"));
    return switch (type) {
      case "default" -> Optional.empty();
      case "llama3" ->
          Optional.of(
              new RopeScaling(
                  rope.path("factor").asDouble(),
                  rope.path("low_freq_factor").asDouble(),
                  rope.path("high_freq_factor").asDouble(),
                  rope.path("original_max_position_embeddings").asInt()));
      default ->
          throw new InputException(
              where
                  + ": rope_type '"
                  + type
                  + "' is not supported; expected 'default' or 'llama3'");
    };
  }

  private static int required(JsonNode json, String key, String where) {
    if (!json.path(key).isIntegralNumber() || json.get(key).asInt() <= 0) {
      throw new InputException(
          where + ": expected a positive number for '" + key + "', found " + json.path(key));
    }
    return json.get(key).asInt();
  }

  /**
   * The rotary frequencies θ^(−2i/d), stretched as configured, each in two parts: the nearest
   * floats, then what they leave over. [2, headSize / 2], row-major.
   */
  public float[] inverseFrequencies() {
    int half = headSize / 2;
    float[] parts = new float[headSize];
    for (int i = 0; i < half; i++) {
      double inv = Math.pow(ropeTheta, -2.0 * i / headSize);
      double f = ropeScaling.isPresent() ? stretch(inv, ropeScaling.get()) : inv;
      parts[i] = (float) f;
      parts[half + i] = (float) (f - parts[i]);
    }
    return parts;
  }

  /**
   * Llama 3: low frequencies are divided by the factor, high ones stay, those between are blended.
   */
  private static double stretch(double inv, RopeScaling s) {
    double wave = 2 * Math.PI / inv;
    if (wave > s.originalMaxPositions / s.lowFreqFactor) {
      return inv / s.factor;
    }
    if (wave < s.originalMaxPositions / s.highFreqFactor) {
      return inv;
    }
    double smooth =
        (s.originalMaxPositions / wave - s.lowFreqFactor) / (s.highFreqFactor - s.lowFreqFactor);
    return (1 - smooth) * inv / s.factor + smooth * inv;
  }

  /** Number of parameters, embeddings counted once if tied. */
  public long parameterCount() {
    long qkv = (long) (heads + 2 * kvHeads) * headSize * (hiddenSize + (attentionBias ? 1L : 0));
    long o = (long) heads * headSize * hiddenSize;
    long mlp = 3L * hiddenSize * intermediateSize;
    long embeddings = (long) vocabSize * hiddenSize * (tieWordEmbeddings ? 1 : 2);
    return layers * (qkv + o + mlp + 2L * hiddenSize) + hiddenSize + embeddings;
  }
}
