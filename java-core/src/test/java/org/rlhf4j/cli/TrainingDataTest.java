package org.rlhf4j.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.rlhf4j.testing.Golden;

/** The data of a run as users name it: folders, globs, columns, and what is too long. */
class TrainingDataTest {
  @TempDir Path work;

  /** Where the last run went. */
  private Path out;

  private int runs;

  private Ran run(String command, Object... more) {
    List<Object> line = new ArrayList<>();
    line.addAll(List.of(command, "--model", Golden.path("models/llama"), "--threads", 1));
    out = work.resolve("run-" + runs++);
    line.addAll(List.of("--out", out, "max_steps=1", "batch_size=2"));
    line.addAll(List.of(more));
    return Ran.run(line.toArray());
  }

  private void write(String name, String... lines) throws IOException {
    Path file = work.resolve(name);
    Files.createDirectories(file.getParent());
    Files.writeString(file, String.join("\n", lines) + "\n");
  }

  @Test
  void aFolderWithOtherNamesForTheColumns() throws IOException {
    write("d/train-0.csv", "ask,reply", "hello,you", "good,day");
    write("d/sub/train-1.jsonl", "{\"ask\": \"and\", \"reply\": \" you?\"}");
    write("d/test-0.csv", "ask,reply", "x,y");
    Object[] columns = {"columns.prompt=ask", "columns.completion=reply"};
    Ran several = run("sft", "--data", work.resolve("d"), columns[0], columns[1]);
    assertEquals(2, several.code());
    assertTrue(several.err().contains("holds several splits, [test, train]"), several::err);
    Ran train =
        run("sft", "--data", work.resolve("d"), "data_split=train", columns[0], columns[1]).done();
    assertTrue(train.err().contains("(2 files): 3 rows read, 3 kept"), train::err);
    String config = Files.readString(out.resolve("config.yaml"));
    assertTrue(config.contains("data_split: train"), config);
    assertTrue(config.contains("prompt: ask"), config);
    // config.yaml is read back, lists included.
    Ran list =
        run(
                "sft",
                "--config",
                out.resolve("config.yaml"),
                "data=[" + work + "/d/sub/*.jsonl, " + work + "/d/test-0.csv]")
            .done();
    assertTrue(list.err().contains("2 rows read, 2 kept"), list::err);
    Ran unknown = run("sft", "--data", work.resolve("d/test-0.csv"), "columns.prompt=asq");
    assertEquals(2, unknown.code());
    assertTrue(
        unknown
            .err()
            .contains(
                "row 1: columns.prompt: expected the column 'asq', found the keys 'ask', 'reply';"
                    + " did you mean ask?"),
        unknown::err);
  }

  @Test
  void whatIsTooLongIsSaid() throws IOException {
    write(
        "p.jsonl",
        "{\"question\": \"q\", \"chosen\": \"short\", \"rejected\": \"small\"}",
        "{\"question\": \"q\", \"chosen\": \"a long answer, much too long\", \"rejected\": \"b\"}");
    Path data = work.resolve("p.jsonl");
    Ran filtered = run("reward", "--data", data, "max_length=8").done();
    assertTrue(
        filtered.err().contains("2 rows read, 1 kept, 1 longer than 8 tokens left out"),
        filtered::err);
    Ran cut = run("reward", "--data", data, "max_length=8", "overlong=truncate").done();
    assertTrue(cut.err().contains("2 kept, 1 longer than 8 tokens cut to their first 8"), cut::err);
    Ran none = run("reward", "--data", data, "max_length=1");
    assertEquals(2, none.code());
    assertTrue(none.err().contains("none that is left: 2 rows read, 0 kept"), none::err);
    write("q.jsonl", "{\"query\": \"a long question, much too long, and longer\"}");
    Ran ppo =
        run(
                "ppo",
                "--data",
                work.resolve("q.jsonl"),
                "--reward-adapter",
                Golden.path("adapters/reward"),
                "max_prompt_length=4",
                "max_new_tokens=2")
            .done();
    assertTrue(ppo.err().contains("1 longer than 4 tokens cut to their last 4"), ppo::err);
    Ran full =
        run(
            "ppo",
            "--data",
            work.resolve("q.jsonl"),
            "--reward-adapter",
            Golden.path("adapters/reward"),
            "max_new_tokens=100000");
    assertEquals(2, full.code());
    assertTrue(full.err().contains("leaves no room for a query"), full::err);
  }
}
