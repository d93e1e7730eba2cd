package org.rlhf4j.generate;

import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Deque;
import java.util.List;
import org.rlhf4j.graph.Graph;
import org.rlhf4j.graph.Head;
import org.rlhf4j.lora.LoraAdapter;
import org.rlhf4j.nn.CausalLm;
import org.rlhf4j.nn.KvCache;
import org.rlhf4j.nn.PackedBatch;
import org.rlhf4j.tensor.DType;
import org.rlhf4j.tensor.Dropout;
import org.rlhf4j.tensor.Kernels;
import org.rlhf4j.tensor.SampleConfig;
import org.rlhf4j.tensor.Scope;
import org.rlhf4j.tensor.Tensor;

/**
 * Batched decoding with a KV cache. A finished sequence makes room at once and the next prompt
 * takes it; equal prompts that enter together are computed once and share their pages of the cache.
 */
public final class Generator {
  private static final int MAX_LIVE = 64;

  private final CausalLm model;

  public Generator(CausalLm model) {
    this.model = model;
  }

  /** A sequence being continued. */
  private static final class Live {
    final int index;
    final int promptLength;
    int[] ids;
    int length;
    KvCache.Sequence cached;

    Live(int index, int[] prompt, int maxNewTokens) {
      this.index = index;
      promptLength = prompt.length;
      ids = Arrays.copyOf(prompt, prompt.length + maxNewTokens);
      length = prompt.length;
    }

    int newTokens() {
      return length - promptLength;
    }
  }

  /** As {@link #generate(List, LoraAdapter, GenerationConfig, long)} with streams from 0. */
  public List<Generation> generate(
      List<int[]> prompts, LoraAdapter adapter, GenerationConfig config) {
    return generate(prompts, adapter, config, 0);
  }

  /**
   * Continues every prompt.
   *
   * @param adapter what all tokens go through, or null for the base alone
   * @param firstStream prompt i draws from the random stream firstStream + i: same seed and stream,
   *     same choices
   */
  public List<Generation> generate(
      List<int[]> prompts, LoraAdapter adapter, GenerationConfig config, long firstStream) {
    if (prompts.isEmpty()) {
      return List.of();
    }
    if (config.maxNewTokens() < 1) {
      throw new IllegalArgumentException(
          "maxNewTokens: expected at least 1, found " + config.maxNewTokens());
    }
    int longest = prompts.stream().mapToInt(p -> p.length).max().orElseThrow();
    Generation[] done = new Generation[prompts.size()];
    Deque<Integer> waiting = new ArrayDeque<>();
    for (int i = 0; i < prompts.size(); i++) {
      waiting.add(i);
    }
    List<Live> live = new ArrayList<>();
    try (KvCache cache =
        new KvCache(
            model.device(), model.config(), model.dtype(), longest + config.maxNewTokens())) {
      while (!waiting.isEmpty() || !live.isEmpty()) {
        if (!waiting.isEmpty() && live.size() < MAX_LIVE) {
          List<Live> entering = new ArrayList<>();
          while (!waiting.isEmpty() && live.size() + entering.size() < MAX_LIVE) {
            int index = waiting.poll();
            entering.add(new Live(index, prompts.get(index), config.maxNewTokens()));
          }
          prefill(entering, adapter, config, firstStream, cache);
          live.addAll(entering);
        } else {
          decode(live, adapter, config, firstStream, cache);
        }
        live.removeIf(
            l -> {
              boolean eos = config.eosIds().contains(l.ids[l.length - 1]);
              if (!eos && l.newTokens() < config.maxNewTokens()) {
                return false;
              }
              done[l.index] =
                  new Generation(
                      prompts.get(l.index),
                      Arrays.copyOfRange(l.ids, l.promptLength, l.length),
                      eos ? Generation.Finish.EOS : Generation.Finish.LENGTH);
              l.cached.close();
              return true;
            });
      }
    }
    return List.of(done);
  }

  private void prefill(
      List<Live> entering,
      LoraAdapter adapter,
      GenerationConfig config,
      long firstStream,
      KvCache cache) {
    // Equal prompts are computed once; `row` says whose last hidden state a sequence reads.
    List<Live> distinct = new ArrayList<>();
    int[] owner = new int[entering.size()];
    for (int i = 0; i < owner.length; i++) {
      Live l = entering.get(i);
      owner[i] = -1;
      for (int d = 0; d < distinct.size() && owner[i] < 0; d++) {
        Live other = distinct.get(d);
        if (other.promptLength == l.promptLength
            && Arrays.equals(other.ids, 0, l.promptLength, l.ids, 0, l.promptLength)) {
          owner[i] = d;
        }
      }
      if (owner[i] < 0) {
        owner[i] = distinct.size();
        distinct.add(l);
        l.cached = cache.sequence();
      }
    }
    try (Graph g = Graph.inference(model.device())) {
      Scope scope = g.scope();
      PackedBatch batch =
          PackedBatch.of(
              scope,
              distinct.stream().map(l -> Arrays.copyOf(l.ids, l.promptLength)).toList(),
              adapter);
      KvCache.Step step = cache.fill(scope, cached(distinct), lengths(distinct));
      Tensor hidden = model.hidden(g, batch, step).value();
      int[] last = new int[entering.size()];
      for (int i = 0; i < last.length; i++) {
        last[i] = batch.starts()[owner[i] + 1] - 1;
        Live l = entering.get(i);
        if (l.cached == null) {
          l.cached = distinct.get(owner[i]).cached.fork(l.promptLength);
        }
      }
      Tensor rows = scope.allocate(hidden.dtype(), last.length, hidden.size(1));
      Kernels.gatherRows(rows, hidden, scope.of(last));
      sample(g, rows, entering, config, firstStream);
    }
  }

  private void decode(
      List<Live> live,
      LoraAdapter adapter,
      GenerationConfig config,
      long firstStream,
      KvCache cache) {
    int n = live.size();
    int[] ids = new int[n];
    int[] positions = new int[n];
    int[] starts = new int[n + 1];
    for (int i = 0; i < n; i++) {
      Live l = live.get(i);
      ids[i] = l.ids[l.length - 1];
      positions[i] = l.length - 1;
      starts[i + 1] = i + 1;
    }
    try (Graph g = Graph.inference(model.device())) {
      Scope scope = g.scope();
      List<PackedBatch.Segment> segments =
          adapter == null ? List.of() : List.of(new PackedBatch.Segment(0, n, adapter));
      PackedBatch batch =
          new PackedBatch(
              scope.of(ids), scope.of(positions), scope.of(starts), starts, segments, Dropout.NONE);
      KvCache.Step step = cache.append(scope, cached(live), lengths(live));
      Tensor hidden = model.hidden(g, batch, step).value();
      sample(g, hidden, live, config, firstStream);
    }
  }

  private static List<KvCache.Sequence> cached(List<Live> live) {
    return live.stream().map(l -> l.cached).toList();
  }

  private static int[] lengths(List<Live> live) {
    return live.stream().mapToInt(l -> l.length).toArray();
  }

  /** Draws the next token of each sequence from its row of hidden states, and appends it. */
  private void sample(
      Graph g, Tensor rows, List<Live> live, GenerationConfig config, long firstStream) {
    Scope scope = g.scope();
    Tensor logits = Head.logits(g, rows, model.head());
    int n = live.size();
    int[] streams = new int[n];
    int[] steps = new int[n];
    int[] allow = new int[n];
    boolean suppressed = false;
    for (int i = 0; i < n; i++) {
      streams[i] = (int) (firstStream + live.get(i).index);
      steps[i] = live.get(i).newTokens();
      allow[i] = live.get(i).newTokens() >= config.minNewTokens() ? 1 : 0;
      suppressed |= allow[i] == 0;
    }
    Tensor suppress =
        suppressed && !config.eosIds().isEmpty()
            ? scope.of(config.eosIds().stream().mapToInt(Integer::intValue).sorted().toArray())
            : null;
    Tensor next = scope.allocate(DType.I32, n);
    Kernels.sample(
        next,
        null,
        logits,
        scope.of(streams),
        scope.of(steps),
        suppress,
        suppress == null ? null : scope.of(allow),
        new SampleConfig(config.temperature(), config.topK(), config.topP(), config.seed()));
    int[] chosen = next.toInts();
    for (int i = 0; i < n; i++) {
      Live l = live.get(i);
      l.ids[l.length++] = chosen[i];
    }
  }
}
