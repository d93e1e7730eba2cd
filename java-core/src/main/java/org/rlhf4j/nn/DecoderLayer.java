package org.rlhf4j.nn;

import org.rlhf4j.graph.Add;
import org.rlhf4j.graph.Attention;
import org.rlhf4j.graph.Graph;
import org.rlhf4j.graph.HeadNorm;
import org.rlhf4j.graph.Parameter;
import org.rlhf4j.graph.Var;
import org.rlhf4j.tensor.DType;
import org.rlhf4j.tensor.Tensor;

/**
 * One block, wired as its {@link Block} declares: h + attention(norm(h)), then h + mlp(norm(h)),
 * either with a norm of what is added. The residual stream h is f32.
 */
final class DecoderLayer {
  private final Attention.Heads heads;
  private final int rope;
  private final Activation activation;
  private final Norm beforeAttention;
  private final Projection qkv;
  private final Parameter queryNorm; // null: heads are not normalised
  private final Parameter keyNorm;
  private final float eps;
  private final Projection o;
  private final Norm afterAttention; // null: added as it is
  private final Norm beforeMlp;
  private final Projection mlpIn;
  private final Projection mlpOut;
  private final Norm afterMlp; // null: added as it is

  DecoderLayer(ModelConfig config, WeightStore store, int index) {
    Block block = config.block();
    ModelConfig.Layer layer = config.perLayer().get(index);
    heads =
        new Attention.Heads(
            config.heads(), config.kvHeads(), config.headSize(), layer.window(), layer.scale());
    rope = layer.rope();
    activation = block.activation();
    beforeAttention = norm(config, store, index, block.beforeAttention(), store.dtype());
    qkv = Projection.of(store, config.qkv(index), 4 * index);
    queryNorm = vector(store, block, index, block.queryNorm());
    keyNorm = vector(store, block, index, block.keyNorm());
    eps = config.norm().eps();
    o = Projection.of(store, config.o(index), 4 * index + 1);
    afterAttention = norm(config, store, index, block.afterAttention(), DType.F32);
    beforeMlp = norm(config, store, index, block.beforeMlp(), store.dtype());
    mlpIn = Projection.of(store, config.mlpIn(index), 4 * index + 2);
    mlpOut = Projection.of(store, config.mlpOut(index), 4 * index + 3);
    afterMlp = norm(config, store, index, block.afterMlp(), DType.F32);
  }

  private static Norm norm(
      ModelConfig config, WeightStore store, int index, String part, DType dtype) {
    String name = part == null ? null : config.block().name(index, part);
    return Norm.of(store, config.norm(), name, dtype);
  }

  private static Parameter vector(WeightStore store, Block block, int index, String part) {
    return part == null ? null : store.vector(block.name(index, part) + ".weight");
  }

  /** Which of the model's rotary positions; −1: none. */
  int rope() {
    return rope;
  }

  /**
   * h f32 [T,H] → [T,H].
   *
   * @param angles of {@link #rope}, or null
   * @param cache where keys and values are kept, or null
   */
  Var apply(Graph g, Var h, PackedBatch batch, Tensor angles, Attention.Cache cache) {
    Var projected = qkv.apply(g, beforeAttention.apply(g, h), batch);
    if (queryNorm != null) {
      projected = HeadNorm.apply(g, projected, heads, queryNorm, keyNorm, eps);
    }
    Var attended =
        cache != null && cache.tables() != null
            ? Attention.decode(g, projected, heads, angles, cache)
            : Attention.apply(g, projected, heads, angles, batch.cuSeqlens(), cache);
    Var middle = add(g, h, o.apply(g, attended, batch), afterAttention);
    Var inner = activation.apply(g, mlpIn.apply(g, beforeMlp.apply(g, middle), batch));
    return add(g, middle, mlpOut.apply(g, inner, batch), afterMlp);
  }

  private static Var add(Graph g, Var h, Var x, Norm norm) {
    return Add.apply(g, h, norm == null ? x : norm.apply(g, x));
  }
}
