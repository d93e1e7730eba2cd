package org.rlhf4j.nn;

import java.util.List;
import org.rlhf4j.graph.Add;
import org.rlhf4j.graph.Attention;
import org.rlhf4j.graph.Graph;
import org.rlhf4j.graph.Parameter;
import org.rlhf4j.graph.RmsNorm;
import org.rlhf4j.graph.Swiglu;
import org.rlhf4j.graph.Var;
import org.rlhf4j.tensor.DType;
import org.rlhf4j.tensor.Tensor;

/**
 * One block of the Llama wiring: h + attention(norm(h)), then h + mlp(norm(h)). The residual stream
 * h is f32.
 */
final class DecoderLayer {
  private final Attention.Heads heads;
  private final float eps;
  private final DType dtype;
  private final Parameter inputNorm;
  private final Projection qkv;
  private final Projection o;
  private final Parameter postNorm;
  private final Projection gateUp;
  private final Projection down;

  DecoderLayer(ModelConfig config, WeightStore store, int index) {
    heads =
        new Attention.Heads(
            config.heads(), config.kvHeads(), config.headSize(), config.slidingWindow());
    eps = config.rmsNormEps();
    dtype = store.dtype();
    String prefix = "model.layers." + index + ".";
    List<String> attention =
        List.of(
            prefix + "self_attn.q_proj", prefix + "self_attn.k_proj", prefix + "self_attn.v_proj");
    long q = (long) config.heads() * config.headSize();
    long kv = (long) config.kvHeads() * config.headSize();
    inputNorm = store.vector(prefix + "input_layernorm.weight");
    qkv =
        projection(
            store,
            attention,
            new long[] {q, kv, kv},
            config.attentionBias() ? attention : List.of(),
            4 * index);
    o =
        projection(
            store,
            List.of(prefix + "self_attn.o_proj"),
            new long[] {config.hiddenSize()},
            List.of(),
            4 * index + 1);
    postNorm = store.vector(prefix + "post_attention_layernorm.weight");
    long inner = config.intermediateSize();
    gateUp =
        projection(
            store,
            List.of(prefix + "mlp.gate_proj", prefix + "mlp.up_proj"),
            new long[] {inner, inner},
            List.of(),
            4 * index + 2);
    down =
        projection(
            store,
            List.of(prefix + "mlp.down_proj"),
            new long[] {config.hiddenSize()},
            List.of(),
            4 * index + 3);
  }

  private static Projection projection(
      WeightStore store, List<String> names, long[] out, List<String> biased, int index) {
    List<String> matrices = names.stream().map(n -> n + ".weight").toList();
    return new Projection(
        Projection.parts(names, out),
        store.matrix(matrices),
        store.matrixGrad(matrices),
        store.joinedVector(biased.stream().map(n -> n + ".bias").toList()),
        index);
  }

  /** h f32 [T,H] → [T,H]. */
  Var apply(
      Graph g,
      Var h,
      PackedBatch batch,
      Tensor angles,
      Attention.Cache cache,
      Tensor decodeLengths) {
    Var x = RmsNorm.apply(g, h, inputNorm, eps, dtype);
    Var projected = qkv.apply(g, x, batch);
    Var attended =
        decodeLengths == null
            ? Attention.apply(
                g, projected, heads, batch.positions(), angles, batch.cuSeqlens(), cache)
            : Attention.decode(
                g, projected, heads, batch.positions(), angles, cache, decodeLengths);
    Var middle = Add.apply(g, h, o.apply(g, attended, batch));
    Var y = RmsNorm.apply(g, middle, postNorm, eps, dtype);
    return Add.apply(g, middle, down.apply(g, Swiglu.apply(g, gateUp.apply(g, y, batch)), batch));
  }
}
