package org.rlhf4j.config;

import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import org.rlhf4j.InputException;

/**
 * The files of a run, as the user wrote them: relative to the working directory, not checked to
 * exist.
 *
 * @param data files, folders and globs; empty: not set
 * @param dataSplit which files of a folder or glob are meant
 * @param rewardAdapter PPO only
 * @param replay PPO only: recorded rollouts used in place of sampling
 * @param resume whether the run in {@code out} is to be continued
 */
public record RunPaths(
    Optional<Path> model,
    List<String> data,
    Optional<String> dataSplit,
    Optional<Path> evalData,
    Optional<Path> out,
    Optional<Path> adapter,
    Optional<Path> rewardAdapter,
    Optional<Path> replay,
    boolean resume) {
  static RunPaths from(Settings s) {
    boolean ppo = s.command() == Command.PPO;
    return new RunPaths(
        s.path("model"),
        s.paths("data"),
        Optional.ofNullable(s.text("data_split")),
        s.path("eval_data"),
        s.path("out"),
        s.path("adapter"),
        ppo ? s.path("reward_adapter") : Optional.empty(),
        ppo ? s.path("replay") : Optional.empty(),
        s.flag("resume"));
  }

  /** The model's path, or an InputException that says which flag is missing. */
  public Path requiredModel() {
    return required(model, "model", "a Hugging Face folder or a GGUF file");
  }

  /** What names the data, or an InputException that says which flag is missing. */
  public List<String> requiredData() {
    if (data.isEmpty()) {
      throw missing("data", "a .jsonl, .json, .csv, .tsv or .parquet file, a folder or a glob");
    }
    return data;
  }

  /** The run folder's path, or an InputException that says which flag is missing. */
  public Path requiredOut() {
    return required(out, "out", "a folder for the run's results");
  }

  private static Path required(Optional<Path> path, String key, String what) {
    return path.orElseThrow(() -> missing(key, what));
  }

  private static InputException missing(String key, String what) {
    return new InputException("--" + key + " is missing: expected " + what);
  }
}
