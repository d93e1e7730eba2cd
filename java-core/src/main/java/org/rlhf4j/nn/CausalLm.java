package org.rlhf4j.nn;

import java.util.ArrayList;
import java.util.List;
import java.util.SplittableRandom;
import java.util.function.Function;
import org.rlhf4j.InputException;
import org.rlhf4j.checkpoint.Quantization;
import org.rlhf4j.checkpoint.StoredTensor;
import org.rlhf4j.graph.Attention;
import org.rlhf4j.graph.Embedding;
import org.rlhf4j.graph.Graph;
import org.rlhf4j.graph.Parameter;
import org.rlhf4j.graph.Parameters;
import org.rlhf4j.graph.RmsNorm;
import org.rlhf4j.graph.Var;
import org.rlhf4j.lora.LoraAdapter;
import org.rlhf4j.tensor.DType;
import org.rlhf4j.tensor.Device;
import org.rlhf4j.tensor.Kernels;
import org.rlhf4j.tensor.Scope;
import org.rlhf4j.tensor.Tensor;
import org.rlhf4j.tensor.Weight;

/**
 * A decoder-only language model: embedding, layers, final norm, and the matrix of the
 * language-model head. One instance serves all roles: which adapter a sequence goes through is said
 * by the batch.
 */
public final class CausalLm implements AutoCloseable {
  private static final String EMBEDDING = "model.embed_tokens.weight";
  private static final String FINAL_NORM = "model.norm.weight";
  private static final String HEAD = "lm_head.weight";

  private final Device device;
  private final ModelConfig config;
  private final WeightStore store;
  private final Parameters parameters; // null: frozen
  private final Scope scope;
  private final Tensor invFreq;
  private final Parameter embedding;
  private final List<DecoderLayer> layers = new ArrayList<>();
  private final Parameter finalNorm;
  private final Weight head;
  private final Tensor headGrad;

  private CausalLm(Device device, ModelConfig config, WeightStore store, Parameters parameters) {
    this.device = device;
    this.config = config;
    this.store = store;
    this.parameters = parameters;
    scope = device.scope();
    float[] frequencies = config.inverseFrequencies();
    invFreq = scope.allocate(DType.F32, 2, frequencies.length / 2).copyFrom(frequencies);
    embedding = store.table(EMBEDDING);
    for (int i = 0; i < config.layers(); i++) {
      layers.add(new DecoderLayer(config, store, i));
    }
    finalNorm = store.vector(FINAL_NORM);
    String headName = config.tieWordEmbeddings() ? EMBEDDING : HEAD;
    head = store.head(headName);
    headGrad = store.matrixGrad(List.of(headName));
  }

  /**
   * A frozen base, packed for the products.
   *
   * @param source finds a tensor by its Hugging Face name
   * @param dtype F32 or BF16: of weights and activations
   * @throws InputException if a tensor is missing or has another shape than the config says
   */
  public static CausalLm frozen(
      Device device, ModelConfig config, DType dtype, Function<String, StoredTensor> source) {
    return frozen(device, config, dtype, Quantization.AUTO, source);
  }

  /**
   * As {@link #frozen(Device, ModelConfig, DType, Function)}, with the matrices of the layers
   * quantised one after the other as they are read. Embedding, head, norms and biases are not.
   */
  public static CausalLm frozen(
      Device device,
      ModelConfig config,
      DType dtype,
      Quantization quantization,
      Function<String, StoredTensor> source) {
    Function<String, StoredTensor> checked = checked(config, source);
    FrozenWeights store = new FrozenWeights(device, dtype, quantization, checked);
    try {
      return new CausalLm(device, config, store, null);
    } catch (RuntimeException e) {
      store.close();
      throw e;
    }
  }

  /** A model whose parameters are all trained, starting from a checkpoint. */
  public static CausalLm trainable(
      Device device, ModelConfig config, DType dtype, Function<String, StoredTensor> source) {
    Function<String, StoredTensor> checked = checked(config, source);
    Parameters parameters = new Parameters(device, specs(config), dtype, true);
    try {
      for (Parameter p : parameters.all()) {
        TensorLoader.load(checked.apply(p.name()), p.value());
      }
      parameters.refresh();
      return new CausalLm(device, config, new TrainableWeights(parameters, dtype), parameters);
    } catch (RuntimeException e) {
      parameters.close();
      throw e;
    }
  }

  /** A new model: matrices N(0, 0.02²) as transformers initialises them, norms 1, biases 0. */
  public static CausalLm initialised(Device device, ModelConfig config, DType dtype, long seed) {
    Parameters parameters = new Parameters(device, specs(config), dtype, true);
    java.util.Random random = new java.util.Random(new SplittableRandom(seed).nextLong());
    for (Parameter p : parameters.all()) {
      float[] values = new float[(int) p.value().elements()];
      for (int i = 0; i < values.length; i++) {
        values[i] =
            p.value().rank() > 1
                ? (float) (random.nextGaussian() * 0.02)
                : p.name().endsWith("norm.weight") ? 1 : 0;
      }
      p.value().copyFrom(values);
    }
    parameters.refresh();
    return new CausalLm(device, config, new TrainableWeights(parameters, dtype), parameters);
  }

  private static Function<String, StoredTensor> checked(
      ModelConfig config, Function<String, StoredTensor> source) {
    List<Parameters.Spec> specs = specs(config);
    return name -> {
      StoredTensor t = source.apply(name);
      for (Parameters.Spec s : specs) {
        if (s.name().equals(name) && !java.util.Arrays.equals(s.shape(), t.shape())) {
          throw new InputException(
              "tensor '"
                  + name
                  + "': expected shape "
                  + java.util.Arrays.toString(s.shape())
                  + " by the model's config, found "
                  + java.util.Arrays.toString(t.shape()));
        }
      }
      return t;
    };
  }

  /**
   * Names (Hugging Face's) and shapes of all parameters. Matrices that are used joined follow one
   * another.
   */
  public static List<Parameters.Spec> specs(ModelConfig c) {
    List<Parameters.Spec> specs = new ArrayList<>();
    specs.add(Parameters.Spec.of(EMBEDDING, c.vocabSize(), c.hiddenSize()));
    for (int i = 0; i < c.layers(); i++) {
      String prefix = "model.layers." + i + ".";
      specs.add(Parameters.Spec.of(prefix + "input_layernorm.weight", c.hiddenSize()));
      specs.add(Parameters.Spec.of(prefix + "post_attention_layernorm.weight", c.hiddenSize()));
      for (LoraAdapter.Module m : layerModules(c, i)) {
        specs.add(Parameters.Spec.of(m.name() + ".weight", m.out(), m.in()));
      }
      if (c.attentionBias()) {
        for (LoraAdapter.Module m : layerModules(c, i).subList(0, 3)) {
          specs.add(Parameters.Spec.of(m.name() + ".bias", m.out()));
        }
      }
    }
    specs.add(Parameters.Spec.of(FINAL_NORM, c.hiddenSize()));
    if (!c.tieWordEmbeddings()) {
      specs.add(Parameters.Spec.of(HEAD, c.vocabSize(), c.hiddenSize()));
    }
    return specs;
  }

  private static List<LoraAdapter.Module> layerModules(ModelConfig c, int i) {
    String prefix = "model.layers." + i + ".";
    long h = c.hiddenSize();
    long q = (long) c.heads() * c.headSize();
    long kv = (long) c.kvHeads() * c.headSize();
    long inner = c.intermediateSize();
    return List.of(
        new LoraAdapter.Module(prefix + "self_attn.q_proj", h, q),
        new LoraAdapter.Module(prefix + "self_attn.k_proj", h, kv),
        new LoraAdapter.Module(prefix + "self_attn.v_proj", h, kv),
        new LoraAdapter.Module(prefix + "self_attn.o_proj", q, h),
        new LoraAdapter.Module(prefix + "mlp.gate_proj", h, inner),
        new LoraAdapter.Module(prefix + "mlp.up_proj", h, inner),
        new LoraAdapter.Module(prefix + "mlp.down_proj", inner, h));
  }

  /** All linear layers that can have an adapter, in order. */
  public static List<LoraAdapter.Module> modules(ModelConfig config) {
    List<LoraAdapter.Module> modules = new ArrayList<>();
    for (int i = 0; i < config.layers(); i++) {
      modules.addAll(layerModules(config, i));
    }
    return modules;
  }

  public Device device() {
    return device;
  }

  public ModelConfig config() {
    return config;
  }

  /** The dtype of activations and of the head's input. */
  public DType dtype() {
    return store.dtype();
  }

  /** All parameters of a trainable model; null for a frozen one. */
  public Parameters parameters() {
    return parameters;
  }

  /** The head's matrix [V,H]. */
  public Weight head() {
    return head;
  }

  /** f32 [V,H] where the head's gradient goes, or null. */
  public Tensor headGrad() {
    return headGrad;
  }

  /** The last hidden states after the final norm, [T,H] in {@link #dtype}. */
  public Var hidden(Graph g, PackedBatch batch) {
    return hidden(g, batch, false);
  }

  /**
   * As {@link #hidden(Graph, PackedBatch)}; with {@code recompute} the backward computes each
   * layer's activations again.
   */
  public Var hidden(Graph g, PackedBatch batch, boolean recompute) {
    return hidden(g, batch, null, null, null, recompute);
  }

  /**
   * As {@link #hidden(Graph, PackedBatch)}, keeping keys and values: row t's sequence is slot
   * {@code slots[t]} (i32 [T]).
   */
  public Var prefill(Graph g, PackedBatch batch, KvCache cache, Tensor slots) {
    return hidden(g, batch, cache, slots, null, false);
  }

  /**
   * One new token per row against the cache.
   *
   * @param lengths i32 [B]: tokens of the row's slot, the new one included
   */
  public Var decode(Graph g, PackedBatch batch, KvCache cache, Tensor slots, Tensor lengths) {
    return hidden(g, batch, cache, slots, lengths, false);
  }

  private Var hidden(
      Graph g, PackedBatch batch, KvCache cache, Tensor slots, Tensor lengths, boolean recompute) {
    Var h = Embedding.apply(g, embedding, batch.ids());
    Tensor angles = g.allocate(DType.F32, batch.tokens(), config.headSize());
    Kernels.ropeTable(angles, batch.positions(), invFreq);
    for (int i = 0; i < layers.size(); i++) {
      Attention.Cache kept = cache == null ? null : cache.layer(i, slots);
      DecoderLayer layer = layers.get(i);
      if (g.isRecording() && recompute) {
        h =
            g.recompute(
                h, step -> layer.apply(step.graph(), step.input(), batch, angles, kept, lengths));
      } else if (g.isRecording()) {
        h = layer.apply(g, h, batch, angles, kept, lengths);
      } else {
        h = inferLayer(g, layer, h, batch, angles, kept, lengths);
      }
    }
    return RmsNorm.apply(g, h, finalNorm, config.rmsNormEps(), dtype());
  }

  /** Without a backward to come, a layer's activations go back as soon as it is done. */
  private Var inferLayer(
      Graph g,
      DecoderLayer layer,
      Var h,
      PackedBatch batch,
      Tensor angles,
      Attention.Cache cache,
      Tensor lengths) {
    try (Graph inner = Graph.inference(device)) {
      Tensor y = layer.apply(inner, h, batch, angles, cache, lengths).value();
      inner.scope().move(y, g.scope());
      g.scope().free(h.value());
      return g.constant(y);
    }
  }

  @Override
  public void close() {
    store.close();
    scope.close();
  }
}
