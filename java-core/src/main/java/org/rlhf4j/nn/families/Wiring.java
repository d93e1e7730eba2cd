package org.rlhf4j.nn.families;

import java.util.ArrayList;
import java.util.List;
import java.util.function.IntFunction;
import java.util.function.IntUnaryOperator;
import org.rlhf4j.nn.Activation;
import org.rlhf4j.nn.Block;
import org.rlhf4j.nn.ModelConfig;
import org.rlhf4j.nn.NormKind;
import org.rlhf4j.nn.Rope;

/**
 * What a family declares, part by part; {@link #build} makes the {@link ModelConfig} of it. A part
 * that is not declared does not exist. Sizes have Llama's keys unless {@link #sizes} was given
 * others.
 */
final class Wiring {
  private final ConfigJson json;
  private int hidden;
  private int inner;
  private int layers;
  private int heads;
  private int kvHeads;
  private int headSize;
  private int maxPositions;

  private String tokens;
  private String positions;
  private double embeddingScale = 1;
  private String finalNorm;
  private String head;
  private boolean tied;

  private ModelConfig.Norm norm;
  private String prefix;
  private String beforeAttention;
  private String afterAttention;
  private String beforeMlp;
  private String afterMlp;
  private String queryNorm;
  private String keyNorm;
  private Block.Linears qkv;
  private Block.Linears o;
  private Activation activation;
  private Block.Linears mlpIn;
  private Block.Linears mlpOut;
  private boolean transposed;

  private List<Rope> ropes = List.of();
  private IntUnaryOperator ropeOfLayer = i -> -1;
  private IntUnaryOperator window = i -> 0;
  private IntFunction<Double> scale = i -> 1 / Math.sqrt(headSize);

  Wiring(ConfigJson json) {
    this.json = json;
  }

  /** Sizes under the keys that most families have. */
  Wiring sizes() {
    hidden = json.size("hidden_size");
    inner = json.size("intermediate_size");
    heads = json.size("num_attention_heads");
    return shape(
        json.size("num_hidden_layers"),
        json.size("num_key_value_heads", heads),
        json.size("head_dim", Math.max(1, hidden / heads)),
        json.size("max_position_embeddings", 2048));
  }

  /** Sizes under other keys; as many heads for keys and values as for queries. */
  Wiring sizes(String hiddenKey, int innerSize, String layersKey, String headsKey, String maxKey) {
    hidden = json.size(hiddenKey);
    inner = innerSize;
    heads = json.size(headsKey);
    return shape(json.size(layersKey), heads, Math.max(1, hidden / heads), json.size(maxKey));
  }

  private Wiring shape(int layerCount, int keyValueHeads, int sizeOfHead, int longest) {
    layers = layerCount;
    kvHeads = keyValueHeads;
    headSize = sizeOfHead;
    maxPositions = longest;
    if (heads % kvHeads != 0) {
      throw json.problem("num_key_value_heads", "expected a divisor of the " + heads + " heads");
    }
    return this;
  }

  int layers() {
    return layers;
  }

  int headSize() {
    return headSize;
  }

  int hidden() {
    return hidden;
  }

  // ---- before the first layer and behind the last

  Wiring tokens(String name) {
    tokens = name;
    return this;
  }

  /** Learned positions, added to the tokens' embedding. */
  Wiring learnedPositions(String name) {
    positions = name;
    return this;
  }

  /** What the tokens' embedding is multiplied by. */
  Wiring embeddingScale(double factor) {
    embeddingScale = factor;
    return this;
  }

  Wiring finalNorm(String name) {
    finalNorm = name;
    return this;
  }

  /** The head; {@code tiedByDefault}: what it means when the config does not say. */
  Wiring head(String name, boolean tiedByDefault) {
    head = name;
    tied = json.flag("tie_word_embeddings", tiedByDefault);
    return this;
  }

  // ---- a layer

  /** What stands before a layer's number. */
  Wiring block(String prefixOfLayers) {
    prefix = prefixOfLayers;
    return this;
  }

  Wiring norms(NormKind kind, double eps) {
    norm = new ModelConfig.Norm(kind, (float) eps);
    return this;
  }

  Wiring attention(String normBefore, boolean qkvBias, boolean oBias, String oName, String... in) {
    beforeAttention = normBefore;
    qkv = new Block.Linears(List.of(in), qkvBias);
    o = new Block.Linears(List.of(oName), oBias);
    return this;
  }

  /** Norms of what attention and MLP give, before it is added to the residual stream. */
  Wiring normsAfter(String attention, String mlp) {
    afterAttention = attention;
    afterMlp = mlp;
    return this;
  }

  /** RMS norms of each head's query and key. */
  Wiring headNorms(String query, String key) {
    queryNorm = query;
    keyNorm = key;
    return this;
  }

  Wiring mlp(String normBefore, Activation kind, boolean bias, String outName, String... in) {
    beforeMlp = normBefore;
    activation = kind;
    mlpIn = new Block.Linears(List.of(in), bias);
    mlpOut = new Block.Linears(List.of(outName), bias);
    return this;
  }

  /** Checkpoints store the layers' matrices as [in, out]. */
  Wiring transposed() {
    transposed = true;
    return this;
  }

  // ---- positions and attention, layer by layer

  /** One kind of rotary positions for all layers. */
  Wiring rope(Rope rope) {
    return ropes(List.of(rope), i -> 0);
  }

  Wiring ropes(List<Rope> kinds, IntUnaryOperator kindOfLayer) {
    ropes = kinds;
    kinds.forEach(rope -> maxPositions = Math.min(maxPositions, rope.limit()));
    ropeOfLayer = kindOfLayer;
    return this;
  }

  /** How many keys a query of a layer sees; 0: all. */
  Wiring window(IntUnaryOperator windowOfLayer) {
    window = windowOfLayer;
    return this;
  }

  /** What a query times a key is multiplied by; 1/√(head size) unless given. */
  Wiring scale(IntFunction<Double> scaleOfLayer) {
    scale = scaleOfLayer;
    return this;
  }

  /** Whether layer i slides: as layer_types says, else as {@code otherwise} has it. */
  boolean[] sliding(java.util.function.IntPredicate otherwise) {
    List<String> types = json.texts("layer_types");
    if (json.has("layer_types") && types.size() != layers) {
      throw json.problem("layer_types", "expected " + layers + " names");
    }
    boolean[] sliding = new boolean[layers];
    for (int i = 0; i < layers; i++) {
      String type = types.isEmpty() ? null : types.get(i);
      if (type != null && !type.equals("full_attention") && !type.equals("sliding_attention")) {
        throw json.problem(
            "layer_types", "expected 'full_attention' or 'sliding_attention', not '" + type + "'");
      }
      sliding[i] = type == null ? otherwise.test(i) : type.equals("sliding_attention");
    }
    return sliding;
  }

  ModelConfig build() {
    List<ModelConfig.Layer> perLayer = new ArrayList<>();
    for (int i = 0; i < layers; i++) {
      perLayer.add(
          new ModelConfig.Layer(
              window.applyAsInt(i), ropeOfLayer.applyAsInt(i), scale.apply(i).floatValue()));
    }
    return new ModelConfig(
        json.text("model_type", ""),
        json.size("vocab_size"),
        hidden,
        inner,
        heads,
        kvHeads,
        headSize,
        maxPositions,
        new ModelConfig.Ends(tokens, positions, embeddingScale, finalNorm, head, tied),
        norm,
        new Block(
            prefix,
            beforeAttention,
            afterAttention,
            beforeMlp,
            afterMlp,
            queryNorm,
            keyNorm,
            qkv,
            o,
            activation,
            mlpIn,
            mlpOut,
            transposed),
        ropes,
        List.copyOf(perLayer));
  }
}
