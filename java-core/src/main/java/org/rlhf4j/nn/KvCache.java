package org.rlhf4j.nn;

import java.util.ArrayDeque;
import java.util.Arrays;
import java.util.Deque;
import java.util.List;
import org.rlhf4j.graph.Attention;
import org.rlhf4j.tensor.DType;
import org.rlhf4j.tensor.Device;
import org.rlhf4j.tensor.Kernels;
import org.rlhf4j.tensor.Scope;
import org.rlhf4j.tensor.Tensor;

/**
 * Keys and values of sequences, for every layer. They lie in pages of {@link #PAGE} tokens from one
 * pool, which grows when it is empty: memory follows what the sequences hold, not what they might.
 */
public final class KvCache implements AutoCloseable {
  /** Tokens of a page. */
  public static final int PAGE = 64;

  private static final int LEAST_GROWTH = 8;

  private final ModelConfig config;
  private final DType dtype;
  private final Scope scope;
  private final Tensor[] k; // of each layer: [pages, PAGE, kv heads, head size]
  private final Tensor[] v;
  private final Deque<Integer> free = new ArrayDeque<>();
  private int[] holders = {}; // how many sequences hold each page

  /**
   * @param longest tokens that a sequence may come to hold
   */
  public KvCache(Device device, ModelConfig config, DType dtype, int longest) {
    config.requirePositions(longest);
    this.config = config;
    this.dtype = dtype;
    scope = device.scope();
    k = new Tensor[config.layers()];
    v = new Tensor[config.layers()];
  }

  /** A sequence's pages, in order. Closing it gives them back. */
  public final class Sequence implements AutoCloseable {
    private int[] pages = {};

    /** Makes room for {@code tokens} tokens in all. */
    private void reserve(int tokens) {
      int have = pages.length;
      int need = (tokens + PAGE - 1) / PAGE;
      if (need > have) {
        pages = Arrays.copyOf(pages, need);
        for (int i = have; i < need; i++) {
          pages[i] = take();
        }
      }
    }

    /**
     * A sequence that begins as this one: its first {@code tokens} tokens, full pages of which both
     * hold, while the rest is copied.
     */
    public Sequence fork(int tokens) {
      Sequence other = new Sequence();
      int full = tokens / PAGE;
      other.pages = Arrays.copyOf(pages, full);
      for (int page : other.pages) {
        holders[page]++;
      }
      if (tokens > full * PAGE) {
        other.reserve(tokens);
        for (int i = 0; i < k.length; i++) {
          copyPage(k[i], pages[full], other.pages[full]);
          copyPage(v[i], pages[full], other.pages[full]);
        }
      }
      return other;
    }

    @Override
    public void close() {
      for (int page : pages) {
        if (--holders[page] == 0) {
          free.push(page);
        }
      }
      pages = new int[0];
    }
  }

  /**
   * Where the tokens of one step go, and what they see.
   *
   * @param pages i32 [T]: row t's page
   * @param places i32 [T]: its place in that page
   * @param tables i32 [B,n]: the pages of each sequence, if the step is one token each; else null
   * @param lengths i32 [B]: tokens of each sequence, this one included; null likewise
   */
  public record Step(KvCache cache, Tensor pages, Tensor places, Tensor tables, Tensor lengths) {
    Attention.Cache layer(int i) {
      return new Attention.Cache(cache.k[i], cache.v[i], pages, places, tables, lengths);
    }
  }

  /** An empty sequence. */
  public Sequence sequence() {
    return new Sequence();
  }

  /** How many pages the pool has. */
  public int pages() {
    return holders.length;
  }

  /**
   * A step that fills empty sequences, one after the other, with {@code lengths[i]} tokens each.
   */
  public Step fill(Scope scope, List<Sequence> sequences, int[] lengths) {
    int[] pages = new int[Arrays.stream(lengths).sum()];
    int[] places = new int[pages.length];
    int row = 0;
    for (int i = 0; i < lengths.length; i++) {
      Sequence s = sequences.get(i);
      s.reserve(lengths[i]);
      for (int p = 0; p < lengths[i]; p++, row++) {
        pages[row] = s.pages[p / PAGE];
        places[row] = p % PAGE;
      }
    }
    return new Step(this, scope.of(pages), scope.of(places), null, null);
  }

  /**
   * Where one token more of each sequence goes, on the host.
   *
   * @param pages [B], as in {@link Step}; {@code places} [B] and {@code tables} [B,width] too
   * @param width pages of the longest sequence, or more: a power of two
   */
  public record Places(int[] pages, int[] places, int[] tables, int width) {}

  /** Makes room for one token more in each sequence; {@code lengths[i]} tokens with it. */
  public Places append(List<Sequence> sequences, int[] lengths) {
    int rows = lengths.length;
    int longest = (Arrays.stream(lengths).max().orElseThrow() + PAGE - 1) / PAGE;
    int width = Integer.highestOneBit(2 * longest - 1);
    int[] pages = new int[rows];
    int[] places = new int[rows];
    int[] tables = new int[rows * width]; // beyond a sequence's end any page will do
    for (int i = 0; i < rows; i++) {
      Sequence s = sequences.get(i);
      s.reserve(lengths[i]);
      int last = lengths[i] - 1;
      pages[i] = s.pages[last / PAGE];
      places[i] = last % PAGE;
      System.arraycopy(s.pages, 0, tables, i * width, last / PAGE + 1);
    }
    return new Places(pages, places, tables, width);
  }

  private int take() {
    if (free.isEmpty()) {
      grow();
    }
    int page = free.pop();
    holders[page] = 1;
    return page;
  }

  /** By a quarter: one layer at a time, so that little is there twice. */
  private void grow() {
    int before = holders.length;
    int after = before + Math.max(before / 4, LEAST_GROWTH);
    for (int i = 0; i < k.length; i++) {
      k[i] = grown(k[i], after);
      v[i] = grown(v[i], after);
    }
    holders = Arrays.copyOf(holders, after);
    for (int page = before; page < after; page++) {
      free.add(page);
    }
  }

  private Tensor grown(Tensor old, int pages) {
    Tensor grown = scope.allocate(dtype, pages, PAGE, config.kvHeads(), config.headSize());
    if (old != null) {
      Kernels.copy(grown.rows(0, old.size(0)), old);
      scope.free(old);
    }
    return grown;
  }

  private static void copyPage(Tensor cache, int from, int to) {
    Kernels.copy(cache.rows(to, to + 1), cache.rows(from, from + 1));
  }

  @Override
  public void close() {
    scope.close();
  }
}
