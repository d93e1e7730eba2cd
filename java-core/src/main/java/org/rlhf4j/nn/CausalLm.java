package org.rlhf4j.nn;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.function.Function;
import java.util.stream.Collectors;
import org.rlhf4j.InputException;
import org.rlhf4j.checkpoint.Nf4Tensor;
import org.rlhf4j.checkpoint.Quantization;
import org.rlhf4j.checkpoint.StoredTensor;
import org.rlhf4j.checkpoint.SyntheticTensor;
import org.rlhf4j.graph.Add;
import org.rlhf4j.graph.Attention;
import org.rlhf4j.graph.Embedding;
import org.rlhf4j.graph.Graph;
import org.rlhf4j.graph.Parameter;
import org.rlhf4j.graph.Parameters;
import org.rlhf4j.graph.Scale;
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
  private final Device device;
  private final ModelConfig config;
  private final WeightStore store;
  private final Parameters parameters; // null: frozen
  private final Scope scope;
  private final List<Tensor> frequencies = new ArrayList<>(); // of each of the config's ropes
  private final Parameter embedding; // null: the frozen head's matrix is the table too
  private final float embeddingScale;
  private final Parameter positions; // null: not learned
  private final List<DecoderLayer> layers = new ArrayList<>();
  private final Norm finalNorm;
  private final Weight head;
  private final Tensor headGrad;

  private CausalLm(Device device, ModelConfig config, WeightStore store, Parameters parameters) {
    this.device = device;
    this.config = config;
    this.store = store;
    this.parameters = parameters;
    scope = device.scope();
    for (Rope rope : config.ropes()) {
      Tensor parts = scope.allocate(DType.F32, 2, rope.frequencies().length);
      frequencies.add(parts.copyFrom(rope.parts()));
    }
    ModelConfig.Ends ends = config.ends();
    String table = ends.tokens() + ".weight";
    boolean shared = parameters == null && table.equals(ends.headWeight());
    embedding = shared ? null : store.table(table);
    embeddingScale = rounded((float) ends.embeddingScale(), store.dtype());
    positions = ends.positions() == null ? null : store.table(ends.positions() + ".weight");
    for (int i = 0; i < config.layers(); i++) {
      layers.add(new DecoderLayer(config, store, i));
    }
    finalNorm = Norm.of(store, config.norm(), ends.finalNorm(), store.dtype());
    head = store.head(ends.headWeight());
    headGrad = store.matrixGrad(List.of(ends.headWeight()));
  }

  /** To the dtype of the weights, as transformers rounds the scale before it multiplies. */
  private static float rounded(float scale, DType dtype) {
    if (dtype == DType.F32) {
      return scale;
    }
    int bits = Float.floatToRawIntBits(scale);
    return Float.intBitsToFloat((bits + 0x7fff + (bits >>> 16 & 1)) & 0xffff0000);
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
    Map<String, ModelParameter> byName = byName(config);
    for (Parameter p : parameters.all()) {
      float[] values = new float[(int) p.value().elements()];
      ModelParameter.Role role = byName.get(p.name()).role();
      for (int i = 0; i < values.length; i++) {
        values[i] =
            switch (role) {
              case MATRIX -> (float) (random.nextGaussian() * 0.02);
              case NORM -> 1;
              case BIAS -> 0;
            };
      }
      p.value().copyFrom(values);
    }
    parameters.refresh();
    return new CausalLm(device, config, new TrainableWeights(parameters, dtype), parameters);
  }

  /** The checkpoint's tensors, in the shape and form that the kernels read. */
  private static Function<String, StoredTensor> checked(
      ModelConfig config, Function<String, StoredTensor> source) {
    Map<String, ModelParameter> byName = byName(config);
    return name -> {
      StoredTensor t = source.apply(name);
      ModelParameter p = byName.get(name);
      StoredAs form =
          t instanceof Nf4Tensor && p.storedAs() == StoredAs.TRANSPOSED
              ? StoredAs.AS_IS
              : p.storedAs();
      long[] expected = form.shape(p.shape());
      if (!Arrays.equals(expected, t.shape())) {
        throw new InputException(
            "tensor '"
                + name
                + "': expected shape "
                + Arrays.toString(expected)
                + " by the model's config, found "
                + Arrays.toString(t.shape()));
      }
      return form.read(t);
    };
  }

  private static Map<String, ModelParameter> byName(ModelConfig config) {
    return config.parameters().stream()
        .collect(Collectors.toMap(ModelParameter::name, Function.identity()));
  }

  /** Names (Hugging Face's) and shapes of all parameters, as the kernels read them. */
  public static List<Parameters.Spec> specs(ModelConfig config) {
    return config.parameters().stream().map(ModelParameter::spec).toList();
  }

  /** Weights that lie in no file, of this shape: for measuring. */
  public static Function<String, StoredTensor> syntheticWeights(ModelConfig config) {
    Map<String, ModelParameter> byName = byName(config);
    return name -> {
      ModelParameter p = byName.get(name);
      return new SyntheticTensor(name, p.storedAs().shape(p.shape()));
    };
  }

  /** All linear layers that can have an adapter, in order. */
  public static List<LoraAdapter.Module> modules(ModelConfig config) {
    boolean transposed = config.block().transposed();
    List<LoraAdapter.Module> modules = new ArrayList<>();
    for (int i = 0; i < config.layers(); i++) {
      for (LinearGroup group : config.linears(i)) {
        for (int part = 0; part < group.names().size(); part++) {
          modules.add(
              new LoraAdapter.Module(
                  group.names().get(part), group.in(), group.out()[part], transposed));
        }
      }
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
    return hidden(g, batch, null, recompute);
  }

  /**
   * As {@link #hidden(Graph, PackedBatch)}, keeping keys and values; a step of {@link
   * KvCache#append} sees what the cache has of its sequences.
   */
  public Var hidden(Graph g, PackedBatch batch, KvCache.Step step) {
    return hidden(g, batch, step, false);
  }

  private Var hidden(Graph g, PackedBatch batch, KvCache.Step step, boolean recompute) {
    config.requirePositions(batch.longest());
    Var h = embed(g, batch);
    Tensor[] tables = new Tensor[frequencies.size()];
    for (int i = 0; i < tables.length; i++) {
      tables[i] = angles(g, batch, i);
    }
    for (int i = 0; i < layers.size(); i++) {
      Attention.Cache cache = step == null ? null : step.layer(i);
      DecoderLayer layer = layers.get(i);
      Tensor angles = layer.rope() < 0 ? null : tables[layer.rope()];
      if (g.isRecording() && recompute) {
        h = g.recompute(h, s -> layer.apply(s.graph(), s.input(), batch, angles, cache));
      } else if (g.isRecording()) {
        h = layer.apply(g, h, batch, angles, cache);
      } else {
        h = inferLayer(g, layer, h, batch, angles, cache);
      }
    }
    return finalNorm.apply(g, h);
  }

  private Var embed(Graph g, PackedBatch batch) {
    Var h =
        embedding == null
            ? Embedding.apply(g, head, batch.ids())
            : Embedding.apply(g, embedding, batch.ids());
    if (embeddingScale != 1) {
      h = Scale.apply(g, h, embeddingScale);
    }
    return positions == null
        ? h
        : Add.apply(g, h, Embedding.apply(g, positions, batch.positions()));
  }

  private Tensor angles(Graph g, PackedBatch batch, int rope) {
    Tensor table = g.allocate(DType.F32, batch.tokens(), config.ropes().get(rope).columns());
    Kernels.ropeTable(table, batch.positions(), frequencies.get(rope));
    float factor = config.ropes().get(rope).attentionFactor();
    if (factor != 1) {
      Kernels.scale(table, table, factor);
    }
    return table;
  }

  /** Without a backward to come, a layer's activations go back as soon as it is done. */
  private Var inferLayer(
      Graph g, DecoderLayer layer, Var h, PackedBatch batch, Tensor angles, Attention.Cache cache) {
    try (Graph inner = Graph.inference(device)) {
      Tensor y = layer.apply(inner, h, batch, angles, cache).value();
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
