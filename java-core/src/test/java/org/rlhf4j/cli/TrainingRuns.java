package org.rlhf4j.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assertions.fail;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.rlhf4j.checkpoint.SafetensorsFile;
import org.rlhf4j.json.Json;
import org.rlhf4j.testing.Golden;
import org.rlhf4j.testing.TestDevice;

/** Small runs of every stage on golden's data, and what their folders are to hold. */
final class TrainingRuns {
  static final Path MODEL = Golden.path("models/llama");

  private static final List<String> COMMON =
      List.of("step", "loss", "learning_rate", "grad_norm", "epoch", "tokens_per_second");
  private static final List<String> REWARD = List.of("accuracy", "margin");
  private static final List<String> PPO =
      List.of(
          "objective/kl",
          "objective/entropy",
          "objective/rlhf_reward",
          "objective/scores",
          "objective/kl_coef",
          "ppo/loss/policy",
          "ppo/loss/value",
          "ppo/loss/total",
          "ppo/policy/clipfrac",
          "ppo/policy/approxkl",
          "ppo/val/clipfrac",
          "ppo/val/explained_variance",
          "ppo/returns/mean",
          "ppo/advantages/mean",
          "val/num_eos_tokens",
          "time/rollout",
          "time/score",
          "time/update");

  private TrainingRuns() {}

  /** One of sft, full (all weights), reward, ppo and replay. */
  static List<Object> of(String stage, Path work, Path out) throws IOException {
    return switch (stage) {
      case "sft" -> sft(work, out);
      case "full" -> {
        List<Object> line = sft(work, out);
        line.add("training=full");
        line.add("learning_rate=1e-4");
        yield line;
      }
      case "reward" -> reward(work, out);
      case "ppo" -> ppo(work, out);
      default -> replay(work, out);
    };
  }

  /** sft: six lines, batches of two, four steps. */
  static List<Object> sft(Path work, Path out) throws IOException {
    Path data = work.resolve("sft.jsonl");
    List<String> lines = new ArrayList<>();
    for (int i = 0; i < 6; i++) {
      lines.add(
          "{\"prompt\": \"Question "
              + i
              + ": \", \"completion\": \"thank you, number "
              + i
              + "\"}");
    }
    Files.write(data, lines);
    return line("sft", out, "--data", data, "batch_size=2", "max_steps=4", "learning_rate=1e-3");
  }

  /** reward: golden's preferences, three steps. */
  static List<Object> reward(Path work, Path out) {
    return line(
        "reward",
        out,
        "--data",
        Golden.path("data/preference.jsonl"),
        "batch_size=4",
        "max_steps=4");
  }

  /** ppo: golden's queries, scored by golden's reward adapter, four batches of four. */
  static List<Object> ppo(Path work, Path out) {
    return line(
        "ppo",
        out,
        "--data",
        Golden.path("data/queries.jsonl"),
        "--reward-adapter",
        Golden.path("adapters/reward"),
        "batch_size=4",
        "mini_batch_size=2",
        "ppo_epochs=2",
        "max_new_tokens=6",
        "max_steps=4",
        "learning_rate=1e-3",
        "use_score_scaling=true",
        "adap_kl_ctrl=true",
        "num_sample_generations=2");
  }

  /**
   * ppo: golden's recorded rollouts with their scores, from golden's adapter, two batches of four.
   */
  static List<Object> replay(Path work, Path out) throws IOException {
    Path file = work.resolve("replay.jsonl");
    List<String> lines = new ArrayList<>();
    JsonNode batches = Golden.json("trainers/ppo_kl.json").get("batches");
    try (SafetensorsFile tensors = Golden.tensors("trainers/ppo_kl.safetensors")) {
      for (int b = 0; b < batches.size(); b++) {
        float[] scores = Golden.floats(tensors, "batch" + b + ".scores");
        for (int i = 0; i < scores.length; i++) {
          Map<String, Object> rollout = new LinkedHashMap<>();
          rollout.put("query_ids", batches.get(b).get("query_ids").get(i));
          rollout.put("response_ids", batches.get(b).get("response_ids").get(i));
          rollout.put("score", scores[i]);
          lines.add(Json.MAPPER.writeValueAsString(rollout));
        }
      }
    }
    Files.write(file, lines);
    return line(
        "ppo",
        out,
        "--replay",
        file,
        "--adapter",
        Golden.path("trainers/ppo_kl.init"),
        "batch_size=4",
        "mini_batch_size=2",
        "learning_rate=1e-3",
        "shuffle=false");
  }

  private static List<Object> line(String command, Path out, Object... more) {
    List<Object> line =
        new ArrayList<>(List.of(command, "--model", MODEL, "--out", out, "--threads", 2));
    line.addAll(List.of("--device", TestDevice.name()));
    line.addAll(List.of(more));
    return line;
  }

  /** The same command line for another device. */
  static List<Object> on(String device, List<Object> line) {
    List<Object> moved = new ArrayList<>(line);
    moved.set(moved.indexOf("--device") + 1, device);
    return moved;
  }

  static Ran run(List<Object> line, Object... more) {
    return Ran.run(Stream.concat(line.stream(), Stream.of(more)).toArray());
  }

  /** The run folder holds everything that COMMANDS promises. */
  static void checkFolder(Path out, String command, int steps) {
    for (String file : List.of("config.yaml", "metrics.jsonl", "report.html")) {
      assertTrue(Files.isRegularFile(out.resolve(file)), file);
    }
    String config = text(out.resolve("config.yaml"));
    for (String key : List.of("command: ", "versions:", "seed: ", "lora:", "max_grad_norm: ")) {
      assertTrue(config.contains(key), () -> key + " in " + config);
    }
    List<ObjectNode> metrics = lines(out.resolve("metrics.jsonl"));
    assertEquals(steps, metrics.size());
    List<String> names = new ArrayList<>(COMMON);
    names.addAll(command.equals("reward") ? REWARD : command.equals("ppo") ? PPO : List.of());
    for (int i = 0; i < steps; i++) {
      ObjectNode line = metrics.get(i);
      assertEquals(i + 1, line.get("step").asInt());
      for (String name : names) {
        assertTrue(line.has(name) && line.get(name).isNumber(), () -> name + " in " + line);
      }
    }
    assertTrue(
        names(out.resolve("checkpoints")).contains("step-" + steps),
        () -> names(out.resolve("checkpoints")).toString());
    assertTrue(
        names(out.resolve("tensorboard")).stream().anyMatch(n -> n.contains("tfevents")),
        "tensorboard/");
    String report = text(out.resolve("report.html"));
    assertTrue(report.contains("<html"), "report.html");
    assertTrue(
        !report.contains("src=\"http") && !report.contains("href=\"http"),
        "report.html needs no network");
    if (command.equals("ppo")) {
      assertTrue(Files.isRegularFile(out.resolve("rollouts.jsonl")));
    }
  }

  static List<ObjectNode> lines(Path file) {
    try {
      List<ObjectNode> found = new ArrayList<>();
      for (String line : Files.readAllLines(file)) {
        found.add((ObjectNode) Json.MAPPER.readTree(line));
      }
      return found;
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  static List<String> names(Path folder) {
    try (Stream<Path> files = Files.list(folder)) {
      return files.map(f -> f.getFileName().toString()).sorted().toList();
    } catch (IOException e) {
      return fail(folder + " cannot be listed");
    }
  }

  /**
   * Two runs have the same results: bytes of adapter/ (or model/), metrics but for what is time,
   * rollouts, samples.
   */
  static void assertSame(Path one, Path other) {
    for (String folder : List.of("adapter", "model")) {
      if (Files.isDirectory(one.resolve(folder))) {
        assertEquals(names(one.resolve(folder)), names(other.resolve(folder)));
        for (String name : names(one.resolve(folder))) {
          try {
            assertEquals(
                -1,
                Files.mismatch(
                    one.resolve(folder).resolve(name), other.resolve(folder).resolve(name)),
                folder + "/" + name);
          } catch (IOException e) {
            throw new UncheckedIOException(e);
          }
        }
      }
    }
    for (String file : List.of("metrics.jsonl", "rollouts.jsonl", "samples.jsonl")) {
      if (Files.exists(one.resolve(file)) || Files.exists(other.resolve(file))) {
        assertEquals(timeless(one.resolve(file)), timeless(other.resolve(file)), file);
      }
    }
  }

  /** The lines of a JSON Lines file, less what is a time or speaks of it. */
  static List<ObjectNode> timeless(Path file) {
    List<ObjectNode> found = lines(file);
    for (ObjectNode line : found) {
      line.remove("tokens_per_second");
      line.remove("health"); // may speak of speed
      line.retain(
          line.properties().stream()
              .map(Map.Entry::getKey)
              .filter(k -> !k.startsWith("time/"))
              .toList());
    }
    return found;
  }

  static String text(Path file) {
    try {
      return Files.readString(file);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** As if a run had been killed while it was making the step after {@code step}. */
  static void killedAfter(Path from, Path to, int step) throws IOException {
    try (Stream<Path> files = Files.walk(from)) {
      for (Path file : files.toList()) {
        Path target = to.resolve(from.relativize(file).toString());
        if (Files.isDirectory(file)) {
          Files.createDirectories(target);
        } else {
          Files.copy(file, target);
        }
      }
    }
    for (String name : names(to.resolve("checkpoints"))) {
      if (Integer.parseInt(name.substring("step-".length())) > step) {
        delete(to.resolve("checkpoints").resolve(name));
      }
    }
    delete(to.resolve("adapter"));
    delete(to.resolve("model"));
    Files.deleteIfExists(to.resolve("report.html"));
    // The line of the next step was being written.
    String metrics = text(to.resolve("metrics.jsonl"));
    List<String> lines = metrics.lines().toList();
    Files.writeString(
        to.resolve("metrics.jsonl"),
        String.join("\n", lines.subList(0, step)) + "\n" + lines.get(step).substring(0, 20));
  }

  private static void delete(Path folder) throws IOException {
    if (Files.isDirectory(folder)) {
      try (Stream<Path> files = Files.walk(folder)) {
        for (Path p : files.sorted(java.util.Comparator.reverseOrder()).toList()) {
          Files.delete(p);
        }
      }
    }
  }
}
