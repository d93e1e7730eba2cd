package org.rlhf4j.cli;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermission;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.rlhf4j.checkpoint.SafetensorsFile;
import org.rlhf4j.json.Json;
import org.rlhf4j.testing.Close;
import org.rlhf4j.testing.Golden;

class ConvertCommandTest {
  @TempDir Path work;

  private final Path model = Golden.path("models/llama");
  private final Path policy = Golden.path("adapters/policy");

  private Path ids() throws IOException {
    Path file = work.resolve("ids.json");
    Files.writeString(
        file,
        Json.MAPPER.writeValueAsString(
            Map.of("input_ids", Golden.json("adapters/golden.json").get("input_ids"))));
    return file;
  }

  private JsonNode logits(Object... model) throws IOException {
    Object[] line =
        Stream.concat(Stream.of("logprobs", "--logits", "--ids", ids()), Stream.of(model))
            .toArray();
    return Ran.json(line).get("sequences");
  }

  private static void same(JsonNode got, JsonNode want, double atol, double rtol) {
    assertEquals(want.size(), got.size());
    for (int s = 0; s < want.size(); s++) {
      JsonNode rows = want.get(s).get("logits");
      for (int i = 0; i < rows.size(); i++) {
        Close.check(
            "logits[" + s + "][" + i + "]",
            InferenceCommandsTest.floats(got.get(s).get("logits").get(i)),
            InferenceCommandsTest.floats(rows.get(i)),
            atol,
            rtol);
      }
    }
  }

  @Test
  void aFolderAsItIs() throws IOException {
    Path out = work.resolve("new/copy");
    assertEquals(
        out.toString(), Ran.json("convert", "--model", model, "--out", out).get("out").asText());
    same(logits("--model", out), logits("--model", model), 0, 0);
    // Readable by those who may read other files, as if it had been made in place.
    assertEquals(
        Files.getPosixFilePermissions(Files.createDirectory(work.resolve("plain"))),
        Files.getPosixFilePermissions(out));
    assertTrue(Files.getPosixFilePermissions(out).contains(PosixFilePermission.OWNER_WRITE));
    JsonNode chat = Ran.json("tokenize", "--model", out, "--text", "hello", "--chat");
    assertEquals(Ran.json("tokenize", "--model", model, "--text", "hello", "--chat"), chat);
  }

  @Test
  void aMergedAdapterIsTheAdapter() throws IOException {
    Path out = work.resolve("merged");
    Ran.run("convert", "--model", model, "--adapter", policy, "--out", out).done();
    same(logits("--model", out), logits("--model", model, "--adapter", policy), 1e-4, 1e-3);
  }

  @Test
  void casts() throws IOException {
    Path bf16 = work.resolve("bf16");
    Ran.run("convert", "--model", model, "--dtype", "bf16", "--out", bf16).done();
    JsonNode half = Ran.json("inspect", bf16);
    assertEquals(half.get("bytes").asLong(), 2 * half.get("parameters").asLong());
    // The cast of weights alone, computed in f32.
    same(logits("--model", bf16, "--dtype", "f32"), logits("--model", model), 5e-2, 5e-2);
    Path back = work.resolve("f32");
    Ran.run("convert", "--model", bf16, "--dtype", "f32", "--out", back).done();
    same(logits("--model", back), logits("--model", bf16, "--dtype", "f32"), 0, 0);
  }

  @Test
  void nothingIsLeftOfAFailure() throws IOException {
    Ran.run("convert", "--model", work.resolve("none"), "--out", work.resolve("a/b"))
        .refused("none");
    assertFalse(Files.exists(work.resolve("a")));
    Ran.run("convert", "--model", model, "--dtype", "f8", "--out", work.resolve("out"))
        .refused("dtype", "f8");
    Ran.run(
            "convert",
            "--model",
            model,
            "--adapter",
            work.resolve("gone"),
            "--out",
            work.resolve("out"))
        .refused("gone");
    Path there = Files.createDirectory(work.resolve("there"));
    Ran.run("convert", "--model", model, "--out", there).refused("there");
    try (Stream<Path> files = Files.list(work)) {
      assertEquals(List.of(there), files.toList());
    }
  }

  @Test
  void gguf() throws IOException {
    Path file = Golden.smolLm2();
    JsonNode c = Golden.json("smollm2.json").get("cases").get(0);
    Path ids = work.resolve("ids.json");
    Files.writeString(
        ids, Json.MAPPER.writeValueAsString(Map.of("input_ids", List.of(c.get("prompt_ids")))));
    Path out = work.resolve("smollm2");
    Ran.run("convert", "--model", file, "--dtype", "f32", "--out", out).done();
    JsonNode got =
        Ran.json("logprobs", "--model", out, "--ids", ids).get("sequences").get(0).get("logprobs");
    JsonNode want = c.get("logprobs");
    for (int i = 1; i < got.size(); i++) {
      Close.check(
          "logprobs[" + i + "]", got.get(i).doubleValue(), want.get(i).doubleValue(), 1e-3, 1e-3);
    }
    assertEquals(
        Ran.json("tokenize", "--model", file, "--text", "Hello  world", "--chat"),
        Ran.json("tokenize", "--model", out, "--text", "Hello  world", "--chat"));
  }

  @Test
  void aMergedRewardAdapterKeepsItsHead() throws IOException {
    Path reward = Golden.path("adapters/reward");
    Path out = work.resolve("scores");
    Ran.run("convert", "--model", model, "--adapter", reward, "--out", out).done();
    JsonNode config = Json.readObject(out.resolve("config.json"));
    assertEquals("LlamaForSequenceClassification", config.at("/architectures/0").asText());
    assertEquals(1, config.get("id2label").size());
    try (SafetensorsFile got = SafetensorsFile.open(out.resolve("model.safetensors"));
        SafetensorsFile want = SafetensorsFile.open(reward.resolve("adapter_model.safetensors"))) {
      assertArrayEquals(
          Golden.floats(want, "base_model.model.score.weight"), Golden.floats(got, "score.weight"));
      assertFalse(got.tensors().containsKey("lm_head.weight"));
    }
    Ran.run("convert", "--model", model, "--adapter", reward, "--out", work.resolve("r.gguf"))
        .refused("score head");
  }

  @Test
  void toGguf() throws IOException {
    Path plain = work.resolve("plain.gguf");
    assertEquals(
        plain.toString(),
        Ran.json("convert", "--model", model, "--out", plain).get("out").asText());
    same(logits("--model", plain), logits("--model", model), 0, 0);
    assertEquals(
        Ran.json("tokenize", "--model", model, "--text", "hello", "--chat"),
        Ran.json("tokenize", "--model", plain, "--text", "hello", "--chat"));
    // Merged, and rounded to 11 bits: the weights' 5e-4 relative goes through two layers.
    Path merged = work.resolve("merged.gguf");
    Ran.run("convert", "--model", model, "--adapter", policy, "--dtype", "f16", "--out", merged)
        .done();
    same(
        logits("--model", merged, "--dtype", "f32"),
        logits("--model", model, "--adapter", policy),
        1e-2,
        1e-2);
    // An adapter goes onto a GGUF base in the same way.
    same(
        logits("--model", plain, "--adapter", policy),
        logits("--model", model, "--adapter", policy),
        0,
        0);
    Path onGguf = work.resolve("again.gguf");
    Ran.run("convert", "--model", plain, "--adapter", policy, "--dtype", "f16", "--out", onGguf)
        .done();
    same(logits("--model", onGguf), logits("--model", merged), 0, 0);
  }

  @Test
  void ggufThatCannotBeWritten() throws IOException {
    Path out = work.resolve("x.gguf");
    Ran.run("convert", "--model", model, "--dtype", "q4_0", "--out", out).refused("q4_0", "q8_0");
    Ran.run("convert", "--model", model, "--dtype", "q8_0", "--out", work.resolve("folder"))
        .refused("q8_0", "f16");
    assertFalse(Files.exists(out));
    Files.writeString(out, "mine");
    Ran.run("convert", "--model", model, "--out", out).refused("x.gguf", "expected a new");
    assertEquals("mine", Files.readString(out));
  }
}
