package org.rlhf4j.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.rlhf4j.cli.TrainingRuns.MODEL;

import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import org.rlhf4j.testing.Golden;

/**
 * Whatever is wrong with what the user gave: code 2, one plain message that says where, and no run
 * folder.
 */
class BadInputTest {
  @TempDir Path work;

  /** What nothing may be left in: {@code out} is never to be made. */
  private Path out() {
    return work.resolve("out");
  }

  @AfterEach
  void nothingWasMade() {
    assertFalse(Files.exists(out()), "the run folder was made");
  }

  private Path file(String name, String text) throws IOException {
    Path file = work.resolve(name);
    Files.writeString(file, text);
    return file;
  }

  private Ran reward(Path data, Object... more) {
    List<Object> line =
        new ArrayList<>(List.of("reward", "--model", MODEL, "--data", data, "--out", out()));
    line.addAll(List.of(more));
    return Ran.run(line.toArray());
  }

  private Ran sft(Object... more) throws IOException {
    Path data = file("good.jsonl", "{\"prompt\": \"a\", \"completion\": \"b\"}\n");
    List<Object> line = new ArrayList<>(List.of("sft", "--data", data, "--out", out()));
    line.addAll(List.of(more));
    return Ran.run(line.toArray());
  }

  private Ran ppo(Object... more) {
    List<Object> line = new ArrayList<>(List.of("ppo", "--model", MODEL, "--out", out()));
    line.addAll(List.of(more));
    return Ran.run(line.toArray());
  }

  @ParameterizedTest
  @CsvSource({
    "bad.empty.jsonl, bad.empty.jsonl",
    "bad.line-3.jsonl, bad.line-3.jsonl:3: ",
    "bad.missing-key-line-2.jsonl, bad.missing-key-line-2.jsonl:2: ",
    "bad.not-utf8-line-2.jsonl, bad.not-utf8-line-2.jsonl:2: ",
    "bad.wrong-type-line-1.jsonl, bad.wrong-type-line-1.jsonl:1: "
  })
  void badLines(String name, String where) {
    reward(Golden.path("data/" + name)).refused(where, "expected");
  }

  @Test
  void badLinesCanBeSkipped() throws IOException {
    Path out = work.resolve("skipped");
    Ran.run(
            "reward",
            "--model",
            MODEL,
            "--data",
            Golden.path("data/bad.line-3.jsonl"),
            "--out",
            out,
            "--skip-bad-lines",
            "max_steps=1")
        .done();
    assertTrue(Files.isDirectory(out.resolve("adapter")));
  }

  @Test
  void otherData() throws IOException {
    reward(work.resolve("gone.jsonl")).refused("gone.jsonl");
    reward(work).refused(work.toString());
    reward(file("data.txt", "hello\n")).refused("data.txt");
    reward(file("tokens.jsonl", "{\"chosen_ids\": [1, 99999], \"rejected_ids\": [1]}\n"))
        .refused("tokens.jsonl:1", "99999");
    reward(Golden.path("data/queries.jsonl")).refused("queries.jsonl:1", "chosen");
    sft("--model", MODEL, "data=" + Golden.path("data/preference.jsonl"))
        .refused("preference.jsonl:1");
  }

  @Test
  void keysAndFlags() throws IOException {
    sft("--model", MODEL, "learning_rat=1").refused("learning_rat", "learning_rate");
    sft("--model", MODEL, "--learning-rat", 1).refused("--learning-rat", "--learning-rate");
    sft("--model", MODEL, "lr=1").refused("lr", "learning_rate");
    sft("--model", MODEL, "batch_size=0").refused("batch_size", "'0'");
    sft("--model", MODEL, "batch_size=x").refused("batch_size", "'x'");
    sft("--model", MODEL, "cliprange=0.1").refused("cliprange", "ppo");
    sft("--model", MODEL, "word").refused("word");
    sft("--model", MODEL, "--dtype", "f8").refused("--dtype", "f8");
    sft("--model", MODEL, "lora.target_modules=q_proj,x_proj").refused("x_proj");
    sft("--model", MODEL, "--log-level", "loud").refused("--log-level", "loud");
    Ran.run("generate", "--model", MODEL, "--prompt", "a", "--gready").refused("--gready");
    Ran.run("generate", "--model", MODEL, "--prompt", "a", "--max-new-tokens", "many")
        .refused("--max-new-tokens", "many");
    Ran.run("generate", "--model", MODEL, "--prompt", "a", "--max-new-tokens", 0)
        .refused("--max-new-tokens");
    Ran.run("generate", "--model", MODEL, "--prompt", "a", "--top-p", 2).refused("--top-p");
    Ran.run("generate", "--model", MODEL, "--prompt", "a", "--temperature", -1)
        .refused("--temperature");
    Ran.run("generate", "--model", MODEL).refused("--prompt");
    Ran.run("generate", "--prompt", "a").refused("--model");
    Ran.run("generate", "--model", MODEL, "--prompt", "").refused("--prompt");
    Ran.run("generate", "--model", MODEL, "--prompt", "a", "--threads", -1).refused("--threads");
    Ran.run("generate", "--model", MODEL, "--prompt", "a", "--dtype", "f8").refused("--dtype");
    Ran.run("generate", "--model", MODEL, "--prompt", "a", "--system", "b").refused("--system");
    Ran.run("score", "--model", MODEL, "--prompt", "a").refused("--adapter");
    Ran.run("logprobs", "--model", MODEL, "--prompt", "a", "--values").refused("--values");
    Ran.run("tokenize", "--model", MODEL).refused("--text");
    Ran.run("tokenize", "--text", "a").refused("--model");
    Ran.run("inspect").refused("path");
    Ran.run("generate", "--model", MODEL, "--prompt", "a", "--log-level", "loud")
        .refused("--log-level", "loud");
    Ran.run("generat").refused("generat");
  }

  @Test
  void paths() throws IOException {
    sft().refused("--model");
    sft("--model", work.resolve("gone")).refused("gone");
    sft("--model", Files.createDirectory(work.resolve("empty"))).refused("empty", "config.json");
    sft("--model", MODEL, "--adapter", work.resolve("gone")).refused("gone");
    Ran.run("sft", "--model", MODEL, "--out", out()).refused("--data");
    Ran.run("sft", "--model", MODEL, "--data", work.resolve("good.jsonl")).refused("--out");
    ppo().refused("--data", "--replay");
    ppo("--data", Golden.path("data/queries.jsonl")).refused("--reward-adapter");
    ppo("--data", Golden.path("data/queries.jsonl"), "--reward-adapter", work.resolve("gone"))
        .refused("gone");
    ppo(
            "--data",
            Golden.path("data/queries.jsonl"),
            "--reward-adapter",
            Golden.path("adapters/policy"))
        .refused("policy", "score");
    Ran.run("generate", "--model", MODEL, "--adapter", work.resolve("gone"), "--prompt", "a")
        .refused("gone");
    Ran.run("score", "--model", MODEL, "--adapter", Golden.path("adapters/policy"), "--prompt", "a")
        .refused("policy", "score");
    Ran.run("inspect", work.resolve("gone")).refused("gone");
  }

  @ParameterizedTest
  @ValueSource(strings = {"cuda:99", "cuda:1000", "tpu"})
  void devices(String device) throws IOException {
    sft("--model", MODEL, "--device", device).refused("--device", device.replaceFirst(":.*", ""));
    Ran.run("generate", "--model", MODEL, "--prompt", "a", "--device", device)
        .refused("--device", "cpu");
    Ran.run("doctor", "--device", device).refused("--device", "cpu");
  }

  @Test
  void ids() throws IOException {
    for (String bad :
        List.of(
            "",
            "{",
            "[]",
            "{}",
            "{\"input_ids\": []}",
            "{\"input_ids\": [[]]}",
            "{\"input_ids\": [[1, 512]]}",
            "{\"input_ids\": [[1, -1]]}",
            "{\"input_ids\": [[1.5]]}",
            "{\"input_ids\": [1, 2]}",
            "{\"input_ids\": [[\"a\"]]}")) {
      Ran.run("logprobs", "--model", MODEL, "--ids", file("ids.json", bad)).refused("ids.json");
    }
    Ran.run("logprobs", "--model", MODEL, "--ids", work.resolve("gone.json")).refused("gone.json");
    StringBuilder long600 = new StringBuilder("{\"input_ids\": [[1");
    for (int i = 1; i < 600; i++) {
      long600.append(", 1");
    }
    Path tooLong = file("long.json", long600 + "]]}");
    // Rotary positions have no end: that works, and is said.
    Ran ran = Ran.run("logprobs", "--model", MODEL, "--ids", tooLong).done();
    assertTrue(ran.err().contains("600 tokens are more than the 512"), ran::toString);
  }

  @Test
  void recordedRollouts() throws IOException {
    for (String bad :
        List.of(
            "{\"query_ids\": [1], \"response_ids\": [], \"score\": 1}",
            "{\"query_ids\": [], \"response_ids\": [1], \"score\": 1}",
            "{\"query_ids\": [1], \"score\": 1}",
            "{\"query_ids\": [1], \"response_ids\": [512], \"score\": 1}",
            "{\"query_ids\": [1], \"response_ids\": [5], \"score\": \"high\"}")) {
      ppo("--replay", file("replay.jsonl", bad + "\n")).refused("replay.jsonl:1");
    }
    ppo("--replay", file("replay.jsonl", "{\"query_ids\": [1], \"response_ids\": [5]}\n"))
        .refused("--reward-adapter");
    ppo(
            "--replay",
            file("replay.jsonl", "{\"query_ids\": [1], \"response_ids\": [5], \"score\": 1}\n"),
            "--data",
            Golden.path("data/queries.jsonl"))
        .refused("--data", "--replay");
  }

  @Test
  void yaml() throws IOException {
    sft("--config", file("a.yaml", "batch_size: 2\nbatch_siz: 3\n"))
        .refused("a.yaml:2", "batch_siz", "batch_size");
    sft("--config", file("b.yaml", "batch_size: [2\nmax_steps: 3\n")).refused("b.yaml:2");
    sft("--config", file("c.yaml", "- batch_size\n")).refused("c.yaml:1");
    sft("--config", file("d.yaml", "batch_size: 2\n\nbatch_size: 3\n"))
        .refused("d.yaml:3", "batch_size");
    sft("--config", file("e.yaml", "lora: 8\n")).refused("e.yaml:1", "lora");
    sft("--config", file("f.yaml", "\tbatch_size: 8\n")).refused("f.yaml:1");
    sft("--config", file("g.yaml", "learning_rate: fast\n")).refused("g.yaml:1", "fast");
    sft("--config", work.resolve("gone.yaml")).refused("gone.yaml");
    sft("--config", file("h.yaml", "command: ppo\n")).refused("h.yaml:1", "ppo", "sft");
  }

  private Path copy() throws IOException {
    Path folder = Files.createDirectories(work.resolve("model"));
    try (Stream<Path> files = Files.list(MODEL)) {
      for (Path file : files.toList()) {
        Files.write(folder.resolve(file.getFileName().toString()), Files.readAllBytes(file));
      }
    }
    return folder;
  }

  private static void cut(Path file, long size) throws IOException {
    try (RandomAccessFile f = new RandomAccessFile(file.toFile(), "rw")) {
      f.setLength(size);
    }
  }

  @Test
  void damagedSafetensors() throws IOException {
    Path model = copy();
    Path weights = model.resolve("model.safetensors");
    long size = Files.size(weights);
    for (long left : new long[] {size - 1, size / 2, 100, 7, 0}) {
      cut(weights, size);
      cut(weights, left);
      Ran.run("generate", "--model", model, "--prompt", "a").refused("model.safetensors");
      Ran.run("inspect", model).refused("model.safetensors");
      sft("--model", model).refused("model.safetensors");
    }
    Files.delete(weights);
    Ran.run("generate", "--model", model, "--prompt", "a").refused(model.toString(), "safetensors");
  }

  @Test
  void damagedFolder() throws IOException {
    Path model = copy();
    Files.writeString(model.resolve("tokenizer.json"), "{\"broken\": ");
    Ran.run("generate", "--model", model, "--prompt", "a").refused("tokenizer.json");
    Files.delete(model.resolve("tokenizer.json"));
    Ran.run("generate", "--model", model, "--prompt", "a").refused("tokenizer");
    sft("--model", model).refused("tokenizer");
    Files.writeString(model.resolve("config.json"), "{\"model_type\": \"llama\"}");
    Ran.run("logprobs", "--model", model, "--ids", file("i.json", "{\"input_ids\": [[1]]}"))
        .refused("model");
    Files.writeString(model.resolve("config.json"), "not json");
    Ran.run("inspect", model).refused("config.json");
    // Weights of other shapes than the configuration says.
    Files.writeString(
        model.resolve("config.json"),
        Files.readString(MODEL.resolve("config.json"))
            .replace("\"intermediate_size\": 256", "\"intermediate_size\": 128"));
    Ran.run("logprobs", "--model", model, "--ids", file("i.json", "{\"input_ids\": [[1]]}"))
        .refused("128");
  }

  @Test
  void damagedAdapter() throws IOException {
    Path adapter = Files.createDirectory(work.resolve("adapter"));
    for (String name : List.of("adapter_config.json", "adapter_model.safetensors")) {
      Files.write(
          adapter.resolve(name), Files.readAllBytes(Golden.path("adapters/policy").resolve(name)));
    }
    String config = Files.readString(adapter.resolve("adapter_config.json"));
    Files.writeString(
        adapter.resolve("adapter_config.json"), config.replace("\"r\": 8", "\"r\": 4"));
    Ran.run("generate", "--model", MODEL, "--adapter", adapter, "--prompt", "a")
        .refused("adapter", "lora_A", "[4, 96]");
    Files.writeString(adapter.resolve("adapter_config.json"), config);
    cut(adapter.resolve("adapter_model.safetensors"), 1000);
    Ran.run("generate", "--model", MODEL, "--adapter", adapter, "--prompt", "a")
        .refused("adapter_model.safetensors");
    Files.delete(adapter.resolve("adapter_model.safetensors"));
    Ran.run("generate", "--model", MODEL, "--adapter", adapter, "--prompt", "a")
        .refused("adapter_model.safetensors");
    Files.writeString(adapter.resolve("adapter_config.json"), "{}");
    Ran.run("generate", "--model", MODEL, "--adapter", adapter, "--prompt", "a")
        .refused("adapter_config.json");
    Files.writeString(adapter.resolve("adapter_config.json"), "{");
    Ran.run("inspect", adapter).refused("adapter");
  }

  @Test
  void damagedGguf() throws IOException {
    byte[] whole = Files.readAllBytes(Golden.smolLm2());
    for (int left : new int[] {whole.length - 1, whole.length / 2, 1_000_000, 100, 3, 0}) {
      Path file = work.resolve("cut.gguf");
      Files.write(file, java.util.Arrays.copyOf(whole, left));
      Ran.run("generate", "--model", file, "--prompt", "a").refused("cut.gguf");
      Ran.run("convert", "--model", file, "--out", out()).refused("cut.gguf");
    }
  }

  @Test
  void runFolders() throws IOException {
    Path other = Files.createDirectory(work.resolve("other"));
    Files.writeString(other.resolve("mine.txt"), "precious");
    sft("--model", MODEL, "out=" + other).refused("other", "--out");
    assertEquals(List.of("mine.txt"), TrainingRuns.names(other));
    sft("--model", MODEL, "out=" + other.resolve("mine.txt")).refused("mine.txt");
    sft("--model", MODEL, "--resume").refused("out");
    Path run = work.resolve("run");
    sft("--model", MODEL, "out=" + run, "max_steps=1").done();
    sft("--model", MODEL, "out=" + run).refused("run", "--resume");
    Ran.run("ppo", "--out", run, "--resume").refused("config.yaml", "sft");
    sft("--model", MODEL, "out=" + run, "--resume", "max_steps=2", "lora.r=4")
        .refused("checkpoint");
    // A checkpoint that was damaged.
    cut(run.resolve("checkpoints/step-1/trainer.safetensors"), 50);
    Ran.run("sft", "--out", run, "--resume").refused("trainer.safetensors");
  }
}
