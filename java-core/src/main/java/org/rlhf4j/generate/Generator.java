package org.rlhf4j.generate;

import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Deque;
import java.util.List;
import java.util.function.ToIntFunction;
import org.rlhf4j.graph.Graph;
import org.rlhf4j.lora.LoraAdapter;
import org.rlhf4j.nn.CausalLm;
import org.rlhf4j.nn.KvCache;
import org.rlhf4j.nn.PackedBatch;
import org.rlhf4j.tensor.DType;
import org.rlhf4j.tensor.Kernels;
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
    List<LiveSequence> live = new ArrayList<>();
    int mostTokens = longest + config.maxNewTokens();
    try (KvCache cache = new KvCache(model.device(), model.config(), model.dtype(), mostTokens);
        Sampler sampler = new Sampler(model, config, firstStream);
        Decoder decoder = new Decoder(model, adapter, cache, sampler)) {
      while (!waiting.isEmpty() || !live.isEmpty()) {
        if (!waiting.isEmpty() && live.size() < MAX_LIVE) {
          List<LiveSequence> entering = new ArrayList<>();
          while (!waiting.isEmpty() && live.size() + entering.size() < MAX_LIVE) {
            int index = waiting.poll();
            entering.add(new LiveSequence(index, prompts.get(index), config.maxNewTokens()));
          }
          prefill(entering, adapter, sampler, cache);
          live.addAll(entering);
        } else {
          decoder.step(live);
        }
        live.removeIf(
            l -> {
              boolean eos = config.eosIds().contains(l.last());
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
      List<LiveSequence> entering, LoraAdapter adapter, Sampler sampler, KvCache cache) {
    // Equal prompts are computed once; `row` says whose last hidden state a sequence reads.
    List<LiveSequence> distinct = new ArrayList<>();
    int[] owner = new int[entering.size()];
    for (int i = 0; i < owner.length; i++) {
      LiveSequence l = entering.get(i);
      owner[i] = -1;
      for (int d = 0; d < distinct.size() && owner[i] < 0; d++) {
        LiveSequence other = distinct.get(d);
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
      KvCache.Step step =
          cache.fill(
              scope, distinct.stream().map(l -> l.cached).toList(), each(distinct, l -> l.length));
      Tensor hidden = model.hidden(g, batch, step).value();
      int[] last = new int[entering.size()];
      for (int i = 0; i < last.length; i++) {
        last[i] = batch.starts()[owner[i] + 1] - 1;
        LiveSequence l = entering.get(i);
        if (l.cached == null) {
          l.cached = distinct.get(owner[i]).cached.fork(l.promptLength);
        }
      }
      Tensor rows = scope.allocate(hidden.dtype(), last.length, hidden.size(1));
      Kernels.gatherRows(rows, hidden, scope.of(last));
      Tensor next = scope.allocate(DType.I32, last.length);
      sampler.draw(
          g,
          next,
          rows,
          scope.of(each(entering, sampler::stream)),
          scope.of(each(entering, LiveSequence::newTokens)),
          scope.of(each(entering, sampler::mayEnd)));
      int[] ids = next.toInts();
      for (int i = 0; i < ids.length; i++) {
        entering.get(i).append(ids[i]);
      }
    }
  }

  private static int[] each(List<LiveSequence> live, ToIntFunction<LiveSequence> number) {
    return live.stream().mapToInt(number).toArray();
  }
}
