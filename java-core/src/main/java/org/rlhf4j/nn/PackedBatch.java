package org.rlhf4j.nn;

import java.util.ArrayList;
import java.util.List;
import org.rlhf4j.lora.LoraAdapter;
import org.rlhf4j.tensor.Dropout;
import org.rlhf4j.tensor.Scope;
import org.rlhf4j.tensor.Tensor;

/**
 * Sequences of different lengths, one after the other with no padding, each with the adapter it
 * goes through.
 *
 * @param ids i32 [T]
 * @param positions i32 [T], from 0 within each sequence
 * @param cuSeqlens i32 [B+1]
 * @param starts the same on the host, [B+1]
 * @param segments runs of rows that share an adapter; rows in none go through the base alone
 * @param dropout seed and stream of the adapters' dropout; p comes from each adapter. Stream counts
 *     up by projection
 */
public record PackedBatch(
    Tensor ids,
    Tensor positions,
    Tensor cuSeqlens,
    int[] starts,
    List<Segment> segments,
    Dropout dropout) {

  /** Rows [begin, end) through {@code adapter}. */
  public record Segment(int begin, int end, LoraAdapter adapter) {}

  /** A sequence and the adapter it goes through; null: the base alone. */
  public record Sequence(int[] ids, LoraAdapter adapter) {}

  /** All sequences through one adapter (or null). */
  public static PackedBatch of(Scope scope, List<int[]> sequences, LoraAdapter adapter) {
    return of(scope, sequences.stream().map(ids -> new Sequence(ids, adapter)).toList());
  }

  public static PackedBatch of(Scope scope, List<Sequence> sequences) {
    int[] starts = new int[sequences.size() + 1];
    for (int b = 0; b < sequences.size(); b++) {
      if (sequences.get(b).ids().length == 0) {
        throw new IllegalArgumentException("sequence " + b + " is empty");
      }
      starts[b + 1] = Math.addExact(starts[b], sequences.get(b).ids().length);
    }
    int total = starts[sequences.size()];
    int[] ids = new int[total];
    int[] positions = new int[total];
    List<Segment> segments = new ArrayList<>();
    for (int b = 0; b < sequences.size(); b++) {
      Sequence s = sequences.get(b);
      System.arraycopy(s.ids(), 0, ids, starts[b], s.ids().length);
      for (int i = 0; i < s.ids().length; i++) {
        positions[starts[b] + i] = i;
      }
      addSegment(segments, starts[b], starts[b + 1], s.adapter());
    }
    return new PackedBatch(
        scope.of(ids), scope.of(positions), scope.of(starts), starts, segments, Dropout.NONE);
  }

  private static void addSegment(List<Segment> segments, int begin, int end, LoraAdapter adapter) {
    if (adapter == null) {
      return;
    }
    if (!segments.isEmpty()) {
      Segment last = segments.get(segments.size() - 1);
      if (last.end() == begin && last.adapter() == adapter) {
        segments.set(segments.size() - 1, new Segment(last.begin(), end, adapter));
        return;
      }
    }
    segments.add(new Segment(begin, end, adapter));
  }

  /** The same batch with the adapters' own dropout switched on, drawn from (seed, step). */
  public PackedBatch withDropout(long seed, long step) {
    return new PackedBatch(
        ids, positions, cuSeqlens, starts, segments, new Dropout(1, seed, step << 16));
  }

  public int tokens() {
    return starts[starts.length - 1];
  }

  /** Tokens of the longest sequence. */
  public int longest() {
    int longest = 0;
    for (int b = 0; b < sequences(); b++) {
      longest = Math.max(longest, starts[b + 1] - starts[b]);
    }
    return longest;
  }

  public int sequences() {
    return starts.length - 1;
  }
}
