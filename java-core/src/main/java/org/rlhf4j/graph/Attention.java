package org.rlhf4j.graph;

import org.rlhf4j.tensor.DType;
import org.rlhf4j.tensor.Kernels;
import org.rlhf4j.tensor.Tensor;

/**
 * Rotary embedding of q and k, then causal attention over packed sequences. One op, since the
 * backward turns the gradients of q and k back in place.
 */
public final class Attention {
  private Attention() {}

  /**
   * The shape of the heads.
   *
   * @param window how many keys a query sees, itself included; 0: all
   * @param scale what a query times a key is multiplied by before the softmax
   */
  public record Heads(int query, int keyValue, int size, int window, float scale) {
    /** With the usual scale, 1/√size. */
    public Heads(int query, int keyValue, int size, int window) {
      this(query, keyValue, size, window, (float) (1 / Math.sqrt(size)));
    }

    public long columns() {
      return (long) (query + 2 * keyValue) * size;
    }

    Tensor q(Tensor qkv) {
      return qkv.columns(0, (long) query * size).reshape(qkv.size(0), query, size);
    }

    Tensor k(Tensor qkv) {
      long from = (long) query * size;
      return qkv.columns(from, from + (long) keyValue * size).reshape(qkv.size(0), keyValue, size);
    }

    Tensor v(Tensor qkv) {
      long from = (long) (query + keyValue) * size;
      return qkv.columns(from, from + (long) keyValue * size).reshape(qkv.size(0), keyValue, size);
    }

    /** Rotates q and k of {@code qkv} in place; angles null: not at all. */
    void rotate(Tensor qkv, Tensor angles, boolean inverse) {
      if (angles == null) {
        return;
      }
      Kernels.rope(q(qkv), q(qkv), angles, inverse);
      Kernels.rope(k(qkv), k(qkv), angles, inverse);
    }
  }

  /**
   * The cache that keys and values go to, [pages, tokens of a page, kv heads, head size] each.
   *
   * @param pages i32 [T]: the page that row t goes to
   * @param places i32 [T]: its place in that page
   * @param tables i32 [B, n]: the pages of each sequence, in order; for {@link #decode} alone
   * @param lengths i32 [B]: tokens of each sequence, the new one included; likewise
   */
  public record Cache(
      Tensor k, Tensor v, Tensor pages, Tensor places, Tensor tables, Tensor lengths) {
    private void append(Tensor newK, Tensor newV) {
      Kernels.kvAppend(k, v, newK, newV, pages, places);
    }
  }

  /**
   * @param qkv float [T, columns]: queries, keys and values side by side; rotated in place
   * @param angles f32 [T, up to size], as rope_table makes them; null where positions enter
   *     elsewhere
   * @param cuSeqlens i32 [B+1]
   * @param cache where keys and values are kept for decoding, or null
   * @return float [T, query heads * size]
   */
  public static Var apply(
      Graph g, Var qkv, Heads heads, Tensor angles, Tensor cuSeqlens, Cache cache) {
    Tensor x = qkv.value();
    long tokens = x.size(0);
    heads.rotate(x, angles, false);
    if (cache != null) {
      cache.append(heads.k(x), heads.v(x));
    }
    Tensor o = g.allocate(x.dtype(), tokens, (long) heads.query() * heads.size());
    Tensor o3 = o.reshape(tokens, heads.query(), heads.size());
    Tensor lse = g.allocate(DType.F32, heads.query(), tokens);
    Kernels.attention(
        o3, lse, heads.q(x), heads.k(x), heads.v(x), cuSeqlens, heads.scale(), heads.window());
    return g.record(
        o,
        qkv.needsGrad(),
        out -> {
          Tensor grad = g.allocate(x.dtype(), x.shape());
          Kernels.attentionBackward(
              heads.q(grad),
              heads.k(grad),
              heads.v(grad),
              out.grad().reshape(tokens, heads.query(), heads.size()),
              o3,
              lse,
              heads.q(x),
              heads.k(x),
              heads.v(x),
              cuSeqlens,
              heads.scale(),
              heads.window());
          heads.rotate(grad, angles, true);
          g.accumulate(qkv, grad);
        });
  }

  /** One new token per sequence, against the cache. No backward. */
  public static Var decode(Graph g, Var qkv, Heads heads, Tensor angles, Cache cache) {
    Tensor x = qkv.value();
    long rows = x.size(0);
    heads.rotate(x, angles, false);
    cache.append(heads.k(x), heads.v(x));
    Tensor o = g.allocate(x.dtype(), rows, (long) heads.query() * heads.size());
    Kernels.attentionDecode(
        o.reshape(rows, heads.query(), heads.size()),
        heads.q(x),
        cache.k(),
        cache.v(),
        cache.tables(),
        cache.lengths(),
        heads.scale(),
        heads.window());
    return g.constant(o);
  }
}
