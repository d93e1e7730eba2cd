package org.rlhf4j.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.rlhf4j.json.Json;
import org.rlhf4j.testing.Golden;

class TokenizeCommandTest {
  @TempDir Path work;

  private final Path model = Golden.path("models/llama");

  private Path lines(List<String> lines) throws IOException {
    Path file = work.resolve("lines.jsonl");
    Files.write(file, lines);
    return file;
  }

  private static String line(String key, Object value) throws IOException {
    return Json.MAPPER.writeValueAsString(Map.of(key, value));
  }

  @Test
  void textsOfTheCommandLine() throws IOException {
    List<Object> arguments = new ArrayList<>(List.of("tokenize", "--model", model));
    List<JsonNode> cases = new ArrayList<>();
    for (JsonNode c : Golden.json("tokenizer.json").get("encode")) {
      if (!c.get("text").asText().isEmpty() && cases.size() < 12) {
        cases.add(c);
        arguments.add("--text=" + c.get("text").asText());
      }
    }
    JsonNode got = Ran.json(arguments.toArray()).get("sequences");
    assertEquals(cases.size(), got.size());
    for (int i = 0; i < cases.size(); i++) {
      assertEquals(cases.get(i).get("ids"), got.get(i).get("ids"));
      assertEquals(cases.get(i).get("decoded").asText(), got.get(i).get("text").asText());
    }
  }

  @Test
  void textsOfAFile() throws IOException {
    JsonNode cases = Golden.json("tokenizer.json").get("encode");
    List<String> lines = new ArrayList<>();
    List<JsonNode> want = new ArrayList<>();
    for (JsonNode c : cases) {
      if (!c.get("text").asText().isEmpty()) {
        lines.add(line("text", c.get("text")));
        want.add(c.get("ids"));
      }
    }
    JsonNode got = Ran.json("tokenize", "--model", model, "--data", lines(lines)).get("sequences");
    assertEquals(want.size(), got.size());
    for (int i = 0; i < want.size(); i++) {
      assertEquals(want.get(i), got.get(i).get("ids"), lines.get(i));
    }
  }

  @Test
  void specialTokensAreKeptAndAddedOnlyWhenAsked() {
    JsonNode plain =
        Ran.json("tokenize", "--model", model, "--text", "hello").get("sequences").get(0);
    JsonNode added =
        Ran.json("tokenize", "--model", model, "--text", "hello", "--add-special-tokens")
            .get("sequences")
            .get(0);
    assertEquals("hello", plain.get("text").asText());
    assertTrue(added.get("ids").size() >= plain.get("ids").size());
  }

  @Test
  void conversations() throws IOException {
    JsonNode golden = Golden.json("tokenizer.json");
    // The model's own template is one of golden's: its cases can be asked for by file.
    String own = Files.readString(model.resolve("chat_template.jinja")).strip();
    int asked = 0;
    for (JsonNode c : golden.get("chat")) {
      if (!golden.get("templates").get(c.get("template").asText()).asText().strip().equals(own)) {
        continue;
      }
      List<Object> arguments =
          new ArrayList<>(
              List.of(
                  "tokenize",
                  "--model",
                  model,
                  "--chat",
                  "--data",
                  lines(List.of(line("messages", c.get("messages"))))));
      if (c.get("add_generation_prompt").asBoolean()) {
        arguments.add("--add-generation-prompt");
      }
      JsonNode got = Ran.json(arguments.toArray()).get("sequences").get(0);
      assertEquals(c.get("text").asText(), got.get("text").asText());
      asked++;
    }
    assertTrue(
        asked > 0,
        () ->
            "none of golden's templates is the model's: "
                + golden.get("templates").properties().stream()
                    .map(Map.Entry::getKey)
                    .collect(Collectors.joining(", ")));
  }

  @Test
  void aTemplatesRefusalIsToldWithItsLine() throws IOException {
    JsonNode golden = Golden.json("tokenizer.json").get("chat_error");
    // A copy of the model's tokenizer with the strict template.
    for (String name :
        List.of("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors")) {
      Files.copy(model.resolve(name), work.resolve(name));
    }
    Files.writeString(
        work.resolve("chat_template.jinja"),
        Golden.json("tokenizer.json")
            .get("templates")
            .get(golden.get("template").asText())
            .asText());
    Ran.run(
            "tokenize",
            "--model",
            work,
            "--chat",
            "--data",
            lines(List.of(line("messages", golden.get("messages")))))
        .refused("lines.jsonl:1", golden.get("error").asText());
  }

  @Test
  void textForPeople() {
    assertEquals(
        "hello",
        Ran.run("tokenize", "--model", model, "--text", "hello")
            .done()
            .out()
            .lines()
            .toList()
            .get(1));
  }
}
