package org.rlhf4j.generate;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.rlhf4j.graph.Graph;
import org.rlhf4j.lora.LoraAdapter;
import org.rlhf4j.nn.CausalLm;
import org.rlhf4j.nn.KvCache;
import org.rlhf4j.nn.PackedBatch;
import org.rlhf4j.tensor.DType;
import org.rlhf4j.tensor.Dropout;
import org.rlhf4j.tensor.Recording;
import org.rlhf4j.tensor.Scope;
import org.rlhf4j.tensor.Tensor;

/**
 * One token more for each of a batch of sequences, at a time. All that changes from step to step
 * reaches the device in one copy. Where the device records, a step whose shape comes for the second
 * time is recorded, and launched as one from then on; rows without a sequence fill a batch up to
 * one of few sizes, so that shapes recur while sequences end.
 */
final class Decoder implements AutoCloseable {
  private final CausalLm model;
  private final LoraAdapter adapter;
  private final KvCache cache;
  private final Sampler sampler;
  private final boolean records;
  private final KvCache.Sequence filler;
  private final Map<Shape, Step> steps = new HashMap<>();

  /**
   * @param adapter what all tokens go through, or null for the base alone
   */
  Decoder(CausalLm model, LoraAdapter adapter, KvCache cache, Sampler sampler) {
    this.model = model;
    this.adapter = adapter;
    this.cache = cache;
    this.sampler = sampler;
    records = model.device().canRecord();
    filler = cache.sequence();
  }

  /**
   * @param width pages of the longest sequence, or more
   * @param allMayEnd whether nobody's end is suppressed
   */
  private record Shape(int rows, int width, boolean allMayEnd) {}

  /** Appends the next token to each sequence. */
  void step(List<LiveSequence> live) {
    int rows = records ? filled(live.size()) : live.size();
    List<KvCache.Sequence> cached = new ArrayList<>(rows);
    int[] lengths = new int[rows];
    boolean allMayEnd = true;
    for (int i = 0; i < rows; i++) {
      LiveSequence l = i < live.size() ? live.get(i) : null;
      cached.add(l == null ? filler : l.cached);
      // The fillers are one sequence's tokens: what a filler sees, those before it have written.
      lengths[i] = l == null ? i - live.size() + 1 : l.length;
      allMayEnd &= l == null || sampler.mayEnd(l) == 1;
    }
    KvCache.Places places = cache.append(cached, lengths);
    Step step =
        steps.computeIfAbsent(new Shape(rows, places.width(), allMayEnd), shape -> new Step(shape));
    int[] next = step.run(live, places, lengths);
    for (int i = 0; i < live.size(); i++) {
      live.get(i).append(next[i]);
    }
  }

  /** The next larger batch of those that are recorded. */
  private static int filled(int rows) {
    return rows <= 16 ? Integer.highestOneBit(2 * rows - 1) : (rows + 15) / 16 * 16;
  }

  /** The step of one shape, whose inputs and outputs stay where they are. */
  private final class Step implements AutoCloseable {
    private final Shape shape;
    private final Scope scope = model.device().scope();
    private final int[] values;
    private final Tensor inputs; // i32: what follows, one after the other
    private final PackedBatch batch;
    private final KvCache.Step cacheStep;
    private final Tensor streams;
    private final Tensor counts; // of new tokens
    private final Tensor mayEnd;
    private final Tensor next;
    private int used;
    private boolean ran;
    private Recording recording;
    private int recordedPages; // of the pool, which has moved if they have become more

    Step(Shape shape) {
      this.shape = shape;
      int rows = shape.rows();
      values = new int[9 * rows + 1 + rows * shape.width()];
      inputs = scope.allocate(DType.I32, values.length);
      int[] starts = new int[rows + 1];
      Arrays.setAll(starts, i -> i);
      List<PackedBatch.Segment> segments =
          adapter == null ? List.of() : List.of(new PackedBatch.Segment(0, rows, adapter));
      batch =
          new PackedBatch(
              input(rows), input(rows), input(rows + 1), starts, segments, Dropout.NONE);
      cacheStep =
          new KvCache.Step(
              cache,
              input(rows),
              input(rows),
              input(rows * shape.width()).reshape(rows, shape.width()),
              input(rows));
      streams = input(rows);
      counts = input(rows);
      mayEnd = input(rows);
      next = scope.allocate(DType.I32, rows);
    }

    private Tensor input(int count) {
      used += count;
      return inputs.rows(used - count, used);
    }

    /** The next token of each row. */
    int[] run(List<LiveSequence> live, KvCache.Places places, int[] lengths) {
      int rows = shape.rows();
      used = 0;
      for (int i = 0; i < rows; i++) {
        put(i < live.size() ? live.get(i).last() : 0);
      }
      for (int i = 0; i < rows; i++) {
        put(lengths[i] - 1);
      }
      put(batch.starts());
      put(places.pages());
      put(places.places());
      put(places.tables());
      put(lengths);
      for (int i = 0; i < rows; i++) {
        put(i < live.size() ? sampler.stream(live.get(i)) : 0);
      }
      for (int i = 0; i < rows; i++) {
        put(i < live.size() ? live.get(i).newTokens() : 0);
      }
      for (int i = 0; i < rows; i++) {
        put(i < live.size() ? sampler.mayEnd(live.get(i)) : 1);
      }
      inputs.copyFrom(values);
      launch();
      return next.toInts();
    }

    private void put(int... numbers) {
      System.arraycopy(numbers, 0, values, used, numbers.length);
      used += numbers.length;
    }

    private void launch() {
      if (!records || !ran) {
        compute(); // a first time also loads kernels, and a library chooses how to multiply
        ran = true;
        return;
      }
      if (recordedPages != cache.pages()) {
        forget();
        recording = Recording.of(model.device(), this::compute);
        recordedPages = cache.pages();
      }
      recording.launch();
    }

    private void compute() {
      try (Graph g = Graph.inference(model.device())) {
        Tensor hidden = model.hidden(g, batch, cacheStep).value();
        sampler.draw(g, next, hidden, streams, counts, shape.allMayEnd() ? null : mayEnd);
      }
    }

    private void forget() {
      if (recording != null) {
        recording.close();
        recording = null;
        recordedPages = 0;
      }
    }

    @Override
    public void close() {
      forget();
      scope.close();
    }
  }

  @Override
  public void close() {
    steps.values().forEach(Step::close);
    filler.close();
  }
}
