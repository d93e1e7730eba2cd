package org.rlhf4j.data;

import com.fasterxml.jackson.databind.JsonNode;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.rlhf4j.InputException;
import org.rlhf4j.json.Json;

/**
 * The file of {@code --ids}: {@code {"input_ids": [[…], …]}}, sequences of different lengths with
 * no padding.
 */
public final class TokenIds {
  private TokenIds() {}

  /**
   * Reads the file.
   *
   * @param vocabSize ids must be below it
   * @return at least one sequence, each with at least one id
   * @throws InputException that names the file, the sequence and the position
   */
  public static List<int[]> read(Path file, int vocabSize) {
    if (!Files.isRegularFile(file)) {
      throw InputException.at(file, "no such file: expected {\"input_ids\": [[…], …]}");
    }
    JsonNode list = Json.readObject(file).path("input_ids");
    if (!list.isArray() || list.isEmpty()) {
      throw InputException.at(
          file,
          "'input_ids': expected a list of lists of token ids, found "
              + (list.isArray() ? "an empty list" : Json.kind(list)));
    }
    List<int[]> sequences = new ArrayList<>();
    for (JsonNode sequence : list) {
      String where = "'input_ids'[" + sequences.size() + "]";
      if (!sequence.isArray() || sequence.isEmpty()) {
        throw InputException.at(
            file,
            where
                + ": expected a list of token ids, found "
                + (sequence.isArray() ? "an empty list" : Json.kind(sequence)));
      }
      int[] ids = new int[sequence.size()];
      for (int i = 0; i < ids.length; i++) {
        JsonNode id = sequence.get(i);
        if (!id.isInt() || id.intValue() < 0 || id.intValue() >= vocabSize) {
          throw InputException.at(
              file,
              where
                  + "["
                  + i
                  + "]: expected a token id of 0 to "
                  + (vocabSize - 1)
                  + ", found "
                  + Json.kind(id));
        }
        ids[i] = id.intValue();
      }
      sequences.add(ids);
    }
    return sequences;
  }
}
