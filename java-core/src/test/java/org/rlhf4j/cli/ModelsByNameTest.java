package org.rlhf4j.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.rlhf4j.hub.HubServer;
import org.rlhf4j.testing.Golden;

/** Commands with a model's name where others have a path. */
@Timeout(120)
class ModelsByNameTest {
  private static final String NAME = HubServer.REPO;

  @TempDir Path work;

  private HubServer models;
  private HubServer adapters;

  @BeforeEach
  void serve() throws IOException {
    models = new HubServer().withFolder(Golden.path("models/llama"));
    adapters = new HubServer().withFolder(Golden.path("adapters/policy"));
    endpoint(models);
  }

  /** Each server has a cache of its own: both call their repository the same. */
  private void endpoint(HubServer server) {
    Models.environment(
        Map.of(
            "HF_ENDPOINT",
            server.endpoint(),
            "HF_HOME",
            work.resolve(server == models ? "models" : "adapters").toString()));
  }

  @AfterEach
  void stop() {
    Models.environment(System.getenv());
    models.close();
    adapters.close();
  }

  @Test
  void everyCommandTakesAName() throws IOException {
    Path model = Golden.path("models/llama");
    assertEquals(
        Ran.json("inspect", model).get("parameters"), Ran.json("inspect", NAME).get("parameters"));
    assertEquals(
        Ran.json("tokenize", "--model", model, "--text", "hello"),
        Ran.json("tokenize", "--model", NAME, "--text", "hello"));
    assertEquals(
        Ran.json("logprobs", "--model", model, "--text", "hello"),
        Ran.json("logprobs", "--model", NAME, "--text", "hello", "--offline"));
    Ran.run("convert", "--model", NAME, "--out", work.resolve("converted")).done();
    assertTrue(Files.isRegularFile(work.resolve("converted/model.safetensors")));
  }

  @Test
  void trainingTakesNames() throws IOException {
    Path data = work.resolve("sft.jsonl");
    Files.writeString(data, "{\"prompt\": \"a \", \"completion\": \"b\"}\n".repeat(4));
    Path out = work.resolve("run");
    Ran.run("sft", "model=" + NAME, "--data", data, "--out", out, "max_steps=1").done();
    JsonNode config = org.rlhf4j.json.Json.readObject(out.resolve("adapter/adapter_config.json"));
    assertEquals(NAME, config.get("base_model_name_or_path").asText());
  }

  @Test
  void anAdapterByName() {
    Path model = Golden.path("models/llama");
    endpoint(adapters);
    assertEquals(
        Ran.json(
            "logprobs",
            "--model",
            model,
            "--adapter",
            Golden.path("adapters/policy"),
            "--values",
            "--text",
            "hello"),
        Ran.json("logprobs", "--model", model, "--adapter", NAME, "--values", "--text", "hello"));
  }

  @Test
  void whatIsWrongIsSaid() {
    Ran.run("inspect", NAME, "--offline").refused(NAME, "--offline");
    Ran.run("inspect", "org/nothing")
        .refused("org/nothing", "no such file or folder", "no such model");
    Ran.run("inspect", "no/such/path").refused("no/such/path", "org/name");
    Ran.run("inspect", NAME + "@v9").refused("v9", "a branch, a tag or a commit");
  }

  @Test
  void quietMeansQuiet() {
    assertEquals("", Ran.run("inspect", NAME, "--quiet").done().err());
    Ran again = Ran.run("inspect", NAME).done();
    assertEquals("", again.err());
  }
}
