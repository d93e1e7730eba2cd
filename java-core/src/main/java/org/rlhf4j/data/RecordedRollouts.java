package org.rlhf4j.data;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Map;
import java.util.OptionalDouble;

/**
 * Recorded rollouts: {@code query_ids}, {@code response_ids}, optional {@code score}; other keys,
 * which a run's own rollouts.jsonl has, are ignored. Nothing is truncated: what was sampled is
 * replayed.
 */
public final class RecordedRollouts {
  private RecordedRollouts() {}

  /**
   * Reads a file.
   *
   * @param options {@code vocabSize} (the model's) and {@code skipBadLines} count
   */
  public static Dataset<RecordedRollout> read(Path file, ReadOptions options) {
    RecordReader reader =
        new RecordReader(
            DataFiles.of(file), null, null, options.withMaxLength(0).withColumns(Map.of()), "");
    return reader.read(
        new ArrayList<>(),
        row -> {
          if (!row.has("query_ids") && !row.has("response_ids")) {
            throw row.unknownForm(
                "'query_ids' and 'response_ids'", "query_ids", "response_ids", "score");
          }
          return new RecordedRollout(
              row.ids("query_ids", reader.vocabSize(), false),
              row.ids("response_ids", reader.vocabSize(), false),
              row.has("score") ? OptionalDouble.of(row.number("score")) : OptionalDouble.empty(),
              row.number());
        });
  }
}
