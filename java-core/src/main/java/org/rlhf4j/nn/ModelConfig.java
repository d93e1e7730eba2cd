package org.rlhf4j.nn;

import java.util.ArrayList;
import java.util.List;
import org.rlhf4j.InputException;

/**
 * A decoder: its sizes, its wiring, and what checkpoints name its parts. Made from config.json by
 * the family that its model_type names, {@code org.rlhf4j.nn.families}.
 *
 * @param maxPositions what the model was made for
 * @param ends what stands before the first layer and behind the last
 * @param norm of every norm but those of heads, which are RMS norms of the same kind
 * @param ropes the rotary positions that layers choose from; empty where positions are learned
 * @param perLayer one entry per layer
 */
public record ModelConfig(
    String modelType,
    int vocabSize,
    int hiddenSize,
    int intermediateSize,
    int heads,
    int kvHeads,
    int headSize,
    int maxPositions,
    Ends ends,
    Norm norm,
    Block block,
    List<Rope> ropes,
    List<Layer> perLayer) {

  /**
   * Names without ".weight".
   *
   * @param positions learned positions, added to the embedding; or null
   * @param embeddingScale what the tokens' embedding is multiplied by
   * @param tied whether the head's matrix is the tokens' table
   */
  public record Ends(
      String tokens,
      String positions,
      double embeddingScale,
      String finalNorm,
      String head,
      boolean tied) {
    /** The name of the head's matrix. */
    String headWeight() {
      return (tied ? tokens : head) + ".weight";
    }
  }

  /** Kind and epsilon of a norm. */
  public record Norm(NormKind kind, float eps) {}

  /**
   * What may differ from layer to layer.
   *
   * @param window keys a query sees; 0: all
   * @param rope which of {@link #ropes}; −1: none
   * @param scale what a query times a key is multiplied by
   */
  public record Layer(int window, int rope, float scale) {}

  public int layers() {
    return perLayer.size();
  }

  /** How many positions there are at all: rows of a table, or what the frequencies are good for. */
  public int positionLimit() {
    int limit = ends.positions() == null ? Integer.MAX_VALUE : maxPositions;
    for (Rope rope : ropes) {
      limit = Math.min(limit, rope.limit());
    }
    return limit;
  }

  /**
   * @throws InputException if the model has fewer positions than {@code tokens}
   */
  void requirePositions(int tokens) {
    if (tokens > positionLimit()) {
      throw new InputException(
          tokens
              + " tokens in one sequence: a '"
              + modelType
              + "' model of this configuration has positions for "
              + positionLimit());
    }
  }

  LinearGroup qkv(int layer) {
    long q = (long) heads * headSize;
    long kv = (long) kvHeads * headSize;
    return group(layer, block.qkv(), hiddenSize, q, kv, kv);
  }

  LinearGroup o(int layer) {
    return group(layer, block.o(), (long) heads * headSize, hiddenSize);
  }

  LinearGroup mlpIn(int layer) {
    return block.activation().isGated()
        ? group(layer, block.mlpIn(), hiddenSize, intermediateSize, intermediateSize)
        : group(layer, block.mlpIn(), hiddenSize, intermediateSize);
  }

  LinearGroup mlpOut(int layer) {
    return group(layer, block.mlpOut(), intermediateSize, hiddenSize);
  }

  /** All linear layers of a layer, in the order of the forward. */
  List<LinearGroup> linears(int layer) {
    return List.of(qkv(layer), o(layer), mlpIn(layer), mlpOut(layer));
  }

  /** One name for several parts: a layer that is all of them side by side. */
  private LinearGroup group(int layer, Block.Linears linears, long in, long... out) {
    List<String> names = linears.names().stream().map(n -> block.name(layer, n)).toList();
    long[] rows = names.size() == 1 ? new long[] {java.util.Arrays.stream(out).sum()} : out;
    return new LinearGroup(names, in, rows, linears.bias());
  }

  /** All parameters. Matrices that are used joined follow one another, and so do their biases. */
  public List<ModelParameter> parameters() {
    List<ModelParameter> all = new ArrayList<>();
    addTable(all, ends.tokens(), vocabSize);
    if (ends.positions() != null) {
      addTable(all, ends.positions(), maxPositions);
    }
    for (int i = 0; i < layers(); i++) {
      addNorm(all, i, block.beforeAttention(), hiddenSize);
      addNorm(all, i, block.afterAttention(), hiddenSize);
      addNorm(all, i, block.beforeMlp(), hiddenSize);
      addNorm(all, i, block.afterMlp(), hiddenSize);
      addNorm(all, i, block.queryNorm(), headSize);
      addNorm(all, i, block.keyNorm(), headSize);
      for (LinearGroup group : linears(i)) {
        addLinears(all, group);
      }
    }
    addNorm(all, ends.finalNorm(), hiddenSize);
    if (!ends.tied()) {
      addTable(all, ends.head(), vocabSize);
    }
    return all;
  }

  private void addTable(List<ModelParameter> all, String name, long rows) {
    all.add(
        new ModelParameter(
            name + ".weight", ModelParameter.Role.MATRIX, StoredAs.AS_IS, rows, hiddenSize));
  }

  private void addNorm(List<ModelParameter> all, int layer, String part, long size) {
    if (part != null) {
      addNorm(all, block.name(layer, part), size);
    }
  }

  private void addNorm(List<ModelParameter> all, String name, long size) {
    StoredAs stored = norm.kind() == NormKind.RMS_ONE_PLUS ? StoredAs.LESS_ONE : StoredAs.AS_IS;
    all.add(new ModelParameter(name + ".weight", ModelParameter.Role.NORM, stored, size));
    if (norm.kind() == NormKind.LAYER) {
      all.add(new ModelParameter(name + ".bias", ModelParameter.Role.BIAS, StoredAs.AS_IS, size));
    }
  }

  private void addLinears(List<ModelParameter> all, LinearGroup group) {
    StoredAs stored = block.transposed() ? StoredAs.TRANSPOSED : StoredAs.AS_IS;
    for (int part = 0; part < group.names().size(); part++) {
      all.add(
          new ModelParameter(
              group.weights().get(part),
              ModelParameter.Role.MATRIX,
              stored,
              group.out()[part],
              group.in()));
    }
    for (int part = 0; part < group.biases().size(); part++) {
      all.add(
          new ModelParameter(
              group.biases().get(part),
              ModelParameter.Role.BIAS,
              StoredAs.AS_IS,
              group.out()[part]));
    }
  }

  /** Number of parameters, embeddings counted once if tied. */
  public long parameterCount() {
    long count = 0;
    for (ModelParameter p : parameters()) {
      long elements = 1;
      for (long n : p.shape()) {
        elements *= n;
      }
      count += elements;
    }
    return count;
  }
}
