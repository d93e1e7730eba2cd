package org.rlhf4j.config;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;
import org.rlhf4j.InputException;
import org.rlhf4j.lora.ModulePattern;

class SettingsTest {
  @TempDir Path folder;

  private Path yaml(String text) throws IOException {
    return Files.writeString(folder.resolve("c.yaml"), text);
  }

  private static String message(Runnable action) {
    return assertThrows(InputException.class, action::run).getMessage();
  }

  private static String argumentsMessage(Command command, String... arguments) {
    return message(() -> Settings.fromArguments(command, List.of(arguments)));
  }

  private String fileMessage(Command command, String text) throws IOException {
    Path file = yaml(text);
    return message(() -> Settings.load(command, file)).replace(file.toString(), "FILE");
  }

  @Test
  void namesAreUniqueAndNoneHidesAnother() {
    Set<String> seen = new HashSet<>();
    for (Key key : Keys.ALL) {
      assertTrue(seen.add(key.name()), key.name());
      assertEquals(key, Keys.find(key.name()).orElseThrow());
      assertFalse(key.defaults().isEmpty(), key.name());
    }
  }

  @ParameterizedTest
  @EnumSource(Command.class)
  void everyDefaultIsAValueOfItsKey(Command command) {
    Settings defaults = Settings.defaults(command);
    for (Map.Entry<String, Object> e : defaults.flat().entrySet()) {
      assertEquals(defaults, defaults.with(e.getKey(), e.getValue()), e.getKey());
    }
    assertEquals(List.of(), defaults.warnings());
  }

  @Test
  void defaultsAreTheProjects() {
    PpoConfig c = PpoConfig.defaults();
    assertEquals(0.2, c.initKlCoef());
    assertEquals("kl", c.klPenalty());
    assertEquals(1.0, c.gamma());
    assertEquals(0.95, c.lam());
    assertEquals(0, c.missingEosPenalty());
    assertEquals(0.2, c.cliprange());
    assertEquals(0.5, c.vfCoef());
    assertEquals(3, c.ppoEpochs());
    assertEquals(2, c.training().batchSize());
    assertEquals(1, c.miniBatchSize());
    assertEquals(32, c.maxNewTokens());
    assertEquals(8, c.lora().r());
    assertEquals(ModulePattern.ALL_LINEAR, c.lora().targetModules());
    assertEquals("linear", SftConfig.defaults().training().lrSchedulerType());
  }

  @Test
  void laterSourcesWin() throws IOException {
    Path file = yaml("learning_rate: 1e-4\nlora: {r: 4, alpha: 3}\nlora.dropout: 0\nseed: 1\n");
    Settings s =
        Settings.fromArguments(
            Command.PPO,
            List.of(
                "seed=3",
                "--config",
                file.toString(),
                "--seed",
                "2",
                "--lora.r=5",
                "--lora-dropout",
                "0.5"));
    PpoConfig c = PpoConfig.from(s);
    assertEquals(1e-4, c.training().learningRate());
    assertEquals(5, c.lora().r());
    assertEquals(3, c.lora().alpha());
    assertEquals(0.5, c.lora().dropout());
    assertEquals(3, c.training().seed());
  }

  @ParameterizedTest
  @CsvSource({
    "1e-4,1e-4",
    "1E-4,1e-4",
    "1.0e-4,1e-4",
    "'\"1e-4\"',1e-4",
    ".5,0.5",
    "2,2",
    "1_0,10"
  })
  void numbersMeanTheSameInEveryForm(String written, double value) throws IOException {
    assertEquals(
        value,
        SftConfig.from(Settings.load(Command.SFT, yaml("learning_rate: " + written)))
            .training()
            .learningRate());
  }

  @Test
  void wholeNumbersMayBeWrittenWithAnExponent() {
    assertEquals(
        1000, Settings.fromArguments(Command.SFT, List.of("max_steps=1e3")).integer("max_steps"));
    assertEquals(
        "max_steps: expected a whole number >= -1, found '2.5'",
        argumentsMessage(Command.SFT, "max_steps=2.5"));
    assertEquals(
        "max_steps: expected a whole number >= -1, found '1e10'",
        argumentsMessage(Command.SFT, "max_steps=1e10"));
  }

  @ParameterizedTest
  @ValueSource(
      strings = {"nan", ".nan", "inf", "1e999", "1e999999999", "fast", "", "1,5", "0x10", "1f"})
  void whatIsNoNumberIsRefused(String text) {
    String message = argumentsMessage(Command.SFT, "--learning-rate", text);
    assertEquals("--learning-rate: expected a number >= 0, found '" + text + "'", message);
  }

  @Test
  void unknownKeysNameTheNearestAndTheLine() throws IOException {
    assertEquals(
        "FILE:3: learning_rte: unknown key; did you mean learning_rate?",
        fileMessage(Command.SFT, "# c\nseed: 1\nlearning_rte: 1\n"));
    assertTrue(
        fileMessage(Command.SFT, "lora:\n  r: 3\n  alhpa: 1\n")
            .startsWith("FILE:3: lora.alhpa: unknown key; did you mean lora.alpha"));
    assertTrue(
        argumentsMessage(Command.SFT, "--learning-rte", "1")
            .startsWith("--learning-rte: unknown key; did you mean --learning-rate"));
    assertEquals(
        "kl_div: unknown key; here it is called kl_penalty",
        argumentsMessage(Command.PPO, "kl_div=forward"));
  }

  @Test
  void keysOfAnotherCommandAreToldSo() throws IOException {
    assertEquals(
        "FILE:1: ppo_epochs: a key of ppo, not of sft",
        fileMessage(Command.SFT, "ppo_epochs: 3\n"));
    assertEquals(
        "--training: a key of sft, not of reward",
        argumentsMessage(Command.REWARD, "--training", "full"));
  }

  @Test
  void wrongYamlIsToldWithItsLine() throws IOException {
    assertTrue(fileMessage(Command.SFT, "seed: 1\n  r: [\n").startsWith("FILE:2: not valid YAML"));
    assertEquals(
        "FILE:1: expected a map of configuration keys", fileMessage(Command.SFT, "- seed\n"));
    assertEquals(
        "FILE:2: seed: given before, on line 1", fileMessage(Command.SFT, "seed: 1\nseed: 2\n"));
    assertEquals(
        "FILE:1: seed: expected a whole number, found nothing",
        fileMessage(Command.SFT, "seed:\n"));
    assertEquals(
        "FILE:1: seed: expected a whole number, found '[1, 2]'",
        fileMessage(Command.SFT, "seed: [1, 2]\n"));
    assertEquals(
        "FILE:2: lora.target_modules: expected a list of names",
        fileMessage(Command.SFT, "lora.target_modules:\n- {a: b}\n"));
    assertTrue(
        message(() -> Settings.load(Command.SFT, folder.resolve("none.yaml")))
            .endsWith("none.yaml: no such file"));
    assertEquals(Settings.defaults(Command.SFT), Settings.load(Command.SFT, yaml("")));
  }

  @Test
  void targetModulesComeInThreeForms() throws IOException {
    List<String> expected = List.of("q_proj", "v_proj");
    for (String text : List.of("[q_proj, v_proj]", "q_proj,v_proj", "'q_proj, v_proj'")) {
      assertEquals(
          expected,
          Settings.load(
                  Command.SFT,
                  yaml(
                      "lora: {target_modules: "
                          + (text.startsWith("q") ? "'" + text + "'" : text)
                          + "}"))
              .names("lora.target_modules"));
    }
    LoraPart all = SftConfig.defaults().with("lora.target_modules", "all-linear").lora();
    assertEquals(ModulePattern.ALL_LINEAR, all.targetModules());
  }

  private static LoraPart lora(String... arguments) {
    List<String> all = new ArrayList<>(List.of(arguments));
    all.addAll(List.of("--model", "m", "--data", "d", "--out", "o"));
    return SftConfig.from(Settings.fromArguments(Command.SFT, all)).lora();
  }

  @Test
  void modulesMayBeARegularExpression() throws IOException {
    String regex = ".*\\.(q|v){1,2}_proj";
    assertEquals(ModulePattern.ofText(regex), lora("lora.target_modules=" + regex).targetModules());
    Settings s = Settings.load(Command.SFT, yaml("lora: {exclude_modules: '" + regex + "'}"));
    assertEquals(regex, s.value("lora.exclude_modules"));
    assertEquals(
        new ModulePattern.Names(List.of("model.layers.0.mlp.up_proj")),
        lora("--lora.exclude-modules", "model.layers.0.mlp.up_proj").excludeModules());
    assertEquals(ModulePattern.NONE, lora().excludeModules());
    assertTrue(
        assertThrows(InputException.class, () -> lora("lora.target_modules=(q_proj"))
            .getMessage()
            .startsWith("lora.target_modules: '(q_proj' is not a regular expression"));
  }

  @Test
  void ranksAndAlphasOfSingleModules() throws IOException {
    Map<String, Object> want = Map.of("q_proj", 4, ".*\\.1\\..*", 2);
    for (String text : List.of("{q_proj: 4, '.*\\.1\\..*': 2}", "q_proj: 4, '.*\\.1\\..*': 2")) {
      assertEquals(want, lora("lora.rank_pattern=" + text).rankPattern());
    }
    Settings s =
        Settings.load(
            Command.SFT, yaml("lora:\n  alpha_pattern:\n    v_proj: 1.5\n    q_proj: 8\n  r: 3\n"));
    assertEquals(
        List.of("v_proj", "q_proj"), List.copyOf(s.numbers("lora.alpha_pattern").keySet()));
    assertEquals(Map.of("v_proj", 1.5, "q_proj", 8), s.numbers("lora.alpha_pattern"));
    Path again = yaml(ConfigYaml.write(s.effective(Map.of())));
    assertEquals(s, Settings.load(Command.SFT, again));
    for (String wrong :
        List.of("{q_proj: 0}", "{q_proj: 1.5}", "{'(q': 2}", "{q_proj: [1]}", "4")) {
      String message =
          assertThrows(InputException.class, () -> lora("lora.rank_pattern=" + wrong)).getMessage();
      assertTrue(message.startsWith("lora.rank_pattern: "), message);
    }
  }

  @Test
  void onlyHeadsAreSavedWhole() {
    String message =
        assertThrows(InputException.class, () -> lora("lora.modules_to_save=[lm_head]"))
            .getMessage();
    assertTrue(message.contains("'lm_head' is not supported"), message);
    Settings reward =
        Settings.defaults(Command.REWARD).with("lora.modules_to_save", List.of("score"));
    assertEquals(8, RewardConfig.from(reward).lora().r());
  }

  @Test
  void switchesTakeAWordOrNone() {
    assertTrue(
        Settings.fromArguments(Command.SFT, List.of("--resume", "--seed", "1")).flag("resume"));
    assertFalse(Settings.fromArguments(Command.SFT, List.of("--shuffle", "false")).flag("shuffle"));
    assertFalse(Settings.fromArguments(Command.SFT, List.of("--no-shuffle")).flag("shuffle"));
    assertFalse(Settings.fromArguments(Command.SFT, List.of("shuffle=off")).flag("shuffle"));
    assertTrue(
        Settings.fromArguments(Command.SFT, List.of("--skip-bad-lines", "seed=1"))
            .flag("skip_bad_lines"));
  }

  @Test
  void flagsWithoutValuesAreTold() {
    assertEquals(
        "--seed: expected a whole number, found nothing", argumentsMessage(Command.SFT, "--seed"));
    assertEquals(
        "--config: expected a file, found nothing", argumentsMessage(Command.SFT, "--config"));
    assertEquals("seed: expected --flag VALUE or key=value", argumentsMessage(Command.SFT, "seed"));
  }

  @Test
  void noneSwitchesOff() {
    PpoConfig c =
        PpoConfig.from(
            Settings.fromArguments(
                Command.PPO, List.of("score_clip=none", "top_k=none", "missing_eos_penalty=1")));
    assertEquals(0, c.scoreClip());
    assertEquals(0, c.topK());
    assertEquals(1, c.missingEosPenalty());
    assertEquals(0, c.with("missing_eos_penalty", "none").missingEosPenalty());
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '@',
      value = {
        "mini_batch_size=4@mini_batch_size: 4 is more than batch_size 2",
        "gradient_accumulation_steps=3@gradient_accumulation_steps: mini_batch_size times"
            + " gradient_accumulation_steps is 3, more than batch_size 2",
        "top_p=0@top_p: expected a number in (0, 1], found '0'",
        "top_p=1.5@top_p: expected a number in (0, 1], found '1.5'",
        "temperature=0@temperature: expected a number > 0, found '0'",
        "kl_penalty=k2@kl_penalty: expected kl|abs|mse|k3|full, found 'k2'",
        "min_new_tokens=33@min_new_tokens: 33 is more than max_new_tokens 32",
        "max_length=32@max_length: 32 leaves no room for a query: max_new_tokens is 32",
        "dual_clip=0.5@dual_clip: expected 0 (none) or a number > 1, found '0.5'",
        "quantization=nf5@quantization: expected auto|none|nf4|nf4-double, found 'nf5'",
        "device=gpu@device: expected cpu|cuda[:N]|auto, found 'gpu'",
        "max_steps=0@max_steps: expected -1 or a whole number >= 1, found '0'",
        "lora.dropout=1@lora.dropout: expected a number in [0, 1), found '1'",
        "missing_eos_penalty=-1@missing_eos_penalty: expected a number >= 0, or none, found '-1'",
      })
  void contradictionsAreTold(String override, String expected) {
    assertEquals(expected, argumentsMessage(Command.PPO, override));
  }

  @ParameterizedTest
  @CsvSource({
    "top_k=5,top_k: 5: sampling does not cover",
    "top_p=0.9,top_p: 0.9: sampling does not cover",
    "temperature=0.7,temperature: 0.7: probabilities",
    "target_kl=2,target_kl: has no effect without early_stopping",
    "mini_batch_size=2,",
    "target_kl=1.0,",
  })
  void doubtfulChoicesAreWarnedOf(String override, String start) {
    List<String> warnings = Settings.fromArguments(Command.PPO, List.of(override)).warnings();
    assertEquals(start == null ? 0 : 1, warnings.size(), warnings.toString());
    assertTrue(start == null || warnings.get(0).startsWith(start), warnings.toString());
  }

  @Test
  void fullTrainingWarnsOfAdapterKeys() {
    List<String> warnings =
        Settings.fromArguments(Command.SFT, List.of("training=full", "lora.r=4")).warnings();
    assertEquals(2, warnings.size(), warnings.toString());
    assertTrue(SftConfig.defaults().with("training", "full").full());
  }

  @ParameterizedTest
  @EnumSource(Command.class)
  void whatARunWritesLoadsAgain(Command command) throws IOException {
    Settings s =
        Settings.defaults(command)
            .with("learning_rate", 1.25e-5)
            .with("model", Path.of("a b/c: d"))
            .with("seed", Long.MIN_VALUE)
            .with("lora.target_modules", List.of("q_proj", ".*\\.(k|v){1,2}_proj"))
            .with("adapter", "007");
    Path file = yaml(ConfigYaml.write(s.effective(Map.of("rlhf4j", "1", "java", "25"))));
    assertEquals(s, Settings.load(command, file));
  }

  @Test
  void aRunsFileIsForItsCommand() throws IOException {
    String text = ConfigYaml.write(Settings.defaults(Command.PPO).effective(Map.of()));
    assertEquals(
        "FILE:1: this configuration is for ppo, and the command is sft",
        fileMessage(Command.SFT, text));
  }

  @Test
  void resumeTakesTheRunsOwnConfiguration() throws IOException {
    Settings first = Settings.defaults(Command.SFT).with("seed", 7).with("model", "m");
    Files.writeString(folder.resolve("config.yaml"), ConfigYaml.write(first.effective(Map.of())));
    Settings again =
        Settings.fromArguments(Command.SFT, List.of("--out", folder.toString(), "--resume"));
    assertEquals(7, again.whole("seed"));
    assertTrue(again.flag("resume"));
    assertEquals("m", again.text("model"));
  }

  @ParameterizedTest
  @EnumSource(Command.class)
  void helpNamesEveryKeyOfTheCommandAndNoOther(Command command) {
    List<String> lines = Keys.help(command).lines().toList();
    assertEquals(
        Keys.of(command).stream().map(Key::flag).toList(),
        lines.stream().map(l -> l.strip().split(" ")[0]).toList());
    assertTrue(Keys.help(Command.PPO).contains("--init-kl-coef"));
    assertFalse(Keys.help(Command.SFT).contains("--init-kl-coef"));
  }

  @Test
  void missingPathsNameTheFlag() {
    assertEquals(
        "--model is missing: expected a Hugging Face folder or a GGUF file",
        message(() -> SftConfig.defaults().paths().requiredModel()));
  }
}
