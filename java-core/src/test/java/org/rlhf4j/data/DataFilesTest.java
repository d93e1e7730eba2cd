package org.rlhf4j.data;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.io.OutputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.zip.GZIPOutputStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.rlhf4j.InputException;

/** What {@code data} may name. */
class DataFilesTest {
  @TempDir Path folder;

  private void write(String... names) throws IOException {
    for (String name : names) {
      Path file = folder.resolve(name);
      Files.createDirectories(file.getParent());
      Files.writeString(file, "{\"input_ids\": [" + name.length() + ", 1]}\n");
    }
  }

  private List<String> found(String split, String... patterns) {
    List<String> absolute = List.of(patterns).stream().map(p -> folder + "/" + p).toList();
    return DataFiles.of(absolute, split).files().stream()
        .map(f -> folder.relativize(f).toString())
        .toList();
  }

  private String fault(String split, String pattern) {
    return assertThrows(InputException.class, () -> found(split, pattern)).getMessage();
  }

  @Test
  void foldersGlobsAndLists() throws IOException {
    write("d/b.jsonl", "d/a.jsonl.gz", "d/sub/c.csv", "d/README.md", "d/dataset_info.json");
    write("d/.hidden.jsonl", "d/.cache/x.jsonl", "e/x.tsv", "e/y.ndjson");
    assertEquals(List.of("d/a.jsonl.gz", "d/b.jsonl", "d/sub/c.csv"), found(null, "d"));
    assertEquals(List.of("d/b.jsonl"), found(null, "d/*.jsonl"));
    assertEquals(List.of("d/b.jsonl", "d/sub/c.csv"), found(null, "**/*.{jsonl,csv}"));
    assertEquals(List.of("d/b.jsonl", "d/sub/c.csv"), found(null, "d/**/*.{jsonl,csv}"));
    assertEquals(List.of("e/y.ndjson", "e/x.tsv"), found(null, "e/y.ndjson", "e", "e/y.ndjson"));
    assertEquals(List.of("d/README.md"), found(null, "d/README.md"), "the user knows better");
    assertTrue(fault(null, "nothing.jsonl").contains("nothing.jsonl: no such data file"));
    assertTrue(fault(null, "d/*.parquet").contains("found none in"));
    assertTrue(fault(null, "no/*.jsonl").contains("no such folder"));
    assertTrue(fault(null, "d/[.jsonl").contains("not a pattern"));
    Files.createDirectories(folder.resolve("empty"));
    assertTrue(fault(null, "empty").contains("expected data files"));
  }

  /** Training on the test split because it lies in the same folder must not happen silently. */
  @Test
  void splitsOfAFolderAreChosen() throws IOException {
    write("h/data/train-00000-of-00002.jsonl", "h/data/train-00001-of-00002.jsonl");
    write("h/data/test-00000-of-00001.jsonl", "g/train_sft/part.jsonl", "g/constrain.jsonl");
    assertTrue(fault(null, "h").contains("holds several splits, [test, train]"));
    assertEquals(List.of("h/data/test-00000-of-00001.jsonl"), found("test", "h"));
    assertEquals(2, found("train", "h/**/*.jsonl").size());
    assertEquals(2, found(null, "h/data/train-*.jsonl").size());
    assertEquals(List.of("g/train_sft/part.jsonl"), found("train", "g"));
    assertTrue(fault("validation", "h").contains("found 3 files of [test, train]"));
    assertEquals(
        List.of("h/data/test-00000-of-00001.jsonl"),
        found("train", "h/data/test-00000-of-00001.jsonl"),
        "a file that is named is meant");
  }

  @Test
  void everyFormatIsReadAlsoCompressed() throws IOException {
    write("a.ndjson");
    gzip("b.jsonl.gz", "{\"input_ids\": [2, 1]}\n{\"input_ids\": [3, 1]}\n");
    gzip("c.json.gz", "[{\"input_ids\": [4, 1]}]");
    gzip("d.csv.gz", "input_ids,note\n\"[5, 1]\",x\n");
    Files.writeString(folder.resolve("e.tsv"), "note\tinput_ids\na, b\t[6, 1]\n");
    Dataset<Query> all =
        Queries.read(folder, null, null, ReadOptions.defaults().withVocabSize(100));
    assertEquals(List.of(8, 2, 3, 4, 5, 6), all.records().stream().map(q -> q.ids()[0]).toList());
    assertEquals(folder + " (5 files): 6 rows read, 6 kept", all.notes().get(0));
    write("f.jsonl.gz"); // not compressed
    assertTrue(
        assertThrows(
                InputException.class,
                () -> Queries.read(folder, null, null, ReadOptions.defaults().withVocabSize(100)))
            .getMessage()
            .contains("f.jsonl.gz: expected a file compressed by gzip"));
  }

  private void gzip(String name, String text) throws IOException {
    try (OutputStream out = new GZIPOutputStream(Files.newOutputStream(folder.resolve(name)))) {
      out.write(text.getBytes(java.nio.charset.StandardCharsets.UTF_8));
    }
  }
}
