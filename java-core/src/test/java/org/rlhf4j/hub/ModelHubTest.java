package org.rlhf4j.hub;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.rlhf4j.hub.HubServer.COMMIT;
import static org.rlhf4j.hub.HubServer.REPO;
import static org.rlhf4j.hub.HubServer.instead;
import static org.rlhf4j.hub.HubServer.stallAfter;
import static org.rlhf4j.hub.HubServer.status;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Random;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.rlhf4j.InputException;

/** Downloads from a server on loopback that does everything a network does. */
@Timeout(60)
class ModelHubTest {
  private static final String WEIGHTS = "model.safetensors";

  @TempDir Path work;

  private final byte[] weights = new byte[300_000];
  private HubServer server;

  @BeforeEach
  void serve() throws IOException {
    new Random(1).nextBytes(weights);
    server =
        new HubServer()
            .with("config.json", "{\"model_type\": \"llama\"}")
            .with("tokenizer.json", "{}")
            .with("README.md", "not wanted")
            .with("pytorch_model.bin", "not wanted")
            .with("consolidated.safetensors", "not wanted")
            .with("original/params.json", "not wanted")
            .with("additional_chat_templates/tools.jinja", "{{ tools }}")
            .with(WEIGHTS, weights);
  }

  @AfterEach
  void stop() {
    server.close();
  }

  private Map<String, String> environment() {
    Map<String, String> variables = new HashMap<>();
    variables.put("HF_HOME", work.resolve("home").toString());
    variables.put("HF_ENDPOINT", server.endpoint());
    return variables;
  }

  private HubSettings settings(String... more) {
    Map<String, String> variables = environment();
    for (int i = 0; i < more.length; i += 2) {
      variables.put(more[i], more[i + 1]);
    }
    return HubSettings.from(variables).withPatience(Duration.ofMillis(700), Duration.ofMillis(5));
  }

  private ModelHub hub(String... more) {
    return ModelHub.of(settings(more));
  }

  private Path repo() {
    return work.resolve("home/hub/models--org--tiny");
  }

  private String refused(String name, String... more) {
    return assertThrows(InputException.class, () -> hub(more).resolve(name)).getMessage();
  }

  private String failed(String name) {
    return assertThrows(HubException.class, () -> hub().resolve(name)).getMessage();
  }

  private static void assertHolds(String text, String... words) {
    for (String word : words) {
      assertTrue(text.contains(word), () -> "no '" + word + "' in: " + text);
    }
  }

  private List<String> parts() throws IOException {
    try (Stream<Path> all = Files.list(repo().resolve("blobs"))) {
      return all.map(f -> f.getFileName().toString())
          .filter(f -> f.endsWith("incomplete"))
          .toList();
    }
  }

  @Test
  void layoutIsThatOfTheHuggingFaceCache() throws IOException {
    Path folder = hub().resolve(REPO);
    assertEquals(repo().resolve("snapshots").resolve(COMMIT), folder);
    assertEquals(COMMIT, Files.readString(repo().resolve("refs/main")));
    assertArrayEquals(weights, Files.readAllBytes(folder.resolve(WEIGHTS)));
    assertEquals(
        Path.of("../../blobs", server.etag(WEIGHTS)),
        Files.readSymbolicLink(folder.resolve(WEIGHTS)));
    String template = "additional_chat_templates/tools.jinja";
    assertEquals(
        Path.of("../../../blobs", server.etag(template)),
        Files.readSymbolicLink(folder.resolve(template)));
    assertTrue(
        Files.exists(
            work.resolve("home/hub/.locks/models--org--tiny")
                .resolve(server.etag(WEIGHTS) + ".lock")));
    assertTrue(Files.exists(repo().resolve(".no_exist/" + COMMIT + "/chat_template.jinja")));
    assertEquals(List.of(), parts());
    for (String unwanted :
        List.of("README.md", "pytorch_model.bin", "consolidated.safetensors", "original")) {
      assertFalse(Files.exists(folder.resolve(unwanted)), unwanted);
      assertEquals(0, server.count(unwanted));
    }
  }

  @Test
  void whatIsInTheCacheIsNotAskedForAgain() {
    Path first = hub().resolve(REPO);
    int before = server.requests.size();
    assertEquals(first, hub().resolve(REPO));
    assertEquals(first, hub().resolve(REPO + "@" + COMMIT));
    assertEquals(first, hub("HF_HUB_OFFLINE", "1").resolve(REPO));
    assertEquals(first, hub("TRANSFORMERS_OFFLINE", "true").resolve(REPO));
    assertEquals(before, server.requests.size());
  }

  @Test
  void aCacheThatHuggingfaceHubFilledIsUsed() throws IOException {
    Path snapshot = Files.createDirectories(repo().resolve("snapshots").resolve(COMMIT));
    Files.createDirectories(repo().resolve("refs"));
    Files.writeString(repo().resolve("refs/main"), COMMIT);
    for (String name : List.of("config.json", WEIGHTS)) {
      Files.writeString(snapshot.resolve(name), "{}");
    }
    assertEquals(snapshot, hub("HF_HUB_OFFLINE", "1").resolve(REPO));
    assertEquals(0, server.requests.size());
    // Whether there is a tokenizer is not known yet: asked for once, without the weights.
    assertEquals(snapshot, hub().resolve(REPO));
    assertEquals(0, server.count(WEIGHTS));
    assertTrue(Files.exists(snapshot.resolve("tokenizer.json")));
    assertEquals("{}", Files.readString(snapshot.resolve(WEIGHTS)));
    // And a server that does not answer is done without.
    Files.delete(snapshot.resolve("tokenizer.json"));
    server.close();
    assertEquals(snapshot, hub().resolve(REPO));
  }

  @Test
  void offlineForbidsTheNetwork() {
    assertHolds(refused(REPO, "HF_HUB_OFFLINE", "1"), REPO, "--offline", "cache");
    assertEquals(0, server.requests.size());
  }

  @Test
  void revisions() throws IOException {
    hub().resolve(REPO + "@v1");
    assertEquals(COMMIT, Files.readString(repo().resolve("refs/v1")));
    hub().resolve(REPO + "@refs/pr/1");
    assertEquals(COMMIT, Files.readString(repo().resolve("refs/refs/pr/1")));
    hub().resolve(REPO + "@" + COMMIT);
    assertFalse(Files.exists(repo().resolve("refs").resolve(COMMIT)));
    assertHolds(refused(REPO + "@v2"), "v2", "a branch, a tag or a commit");
  }

  @Test
  void aPathThatExistsWins() throws IOException {
    Path folder = Files.createDirectory(work.resolve("tiny"));
    assertEquals(folder, hub().resolve(folder.toString()));
    assertEquals(0, server.requests.size());
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "tiny",
        "a/b/c",
        "./x/y",
        "../x",
        "/no/where",
        "org/tiny@",
        "org/..",
        "org/a.gguf",
        "org/tiny:../x.gguf",
        "org/tiny@../../x",
        "org/tiny:x.bin",
        "org/a--b",
        "C:\\x"
      })
  void neitherPathNorName(String text) {
    assertHolds(refused(text), "no such file or folder", "org/name");
    assertEquals(0, server.requests.size());
  }

  @Test
  void droppedConnectionsAreResumed() {
    server.failing(
        WEIGHTS, server.dropAfter(WEIGHTS, 100_000), status(503), status(500), status(502));
    Path folder = hub().resolve(REPO);
    assertResumedAfter(100_000);
    assertTrue(Files.isRegularFile(folder.resolve(WEIGHTS)));
  }

  /**
   * The weights came in two parts: a connection dropped after {@code bytes}, and a request for all
   * that had not arrived by then. What is under way when a connection drops can be lost, so it may
   * have been less than was sent.
   */
  private void assertResumedAfter(int bytes) {
    String range =
        server.requests.stream()
            .map(r -> r.range())
            .filter(Objects::nonNull)
            .findFirst()
            .orElseThrow();
    int kept = Integer.parseInt(range.replace("bytes=", "").replace("-", ""));
    assertTrue(kept > 0 && kept <= bytes, range);
    assertEquals(weights.length + bytes - kept, server.sent(WEIGHTS), "bytes were sent twice");
  }

  @Test
  void anotherProcessResumesWhatOneLeft() throws IOException {
    server.failing(WEIGHTS, server.dropAfter(WEIGHTS, 120_000));
    for (int i = 0; i < 5; i++) {
      server.failing(WEIGHTS, status(503));
    }
    String message = failed(REPO);
    assertHolds(message, WEIGHTS, "503", "running again resumes");
    assertEquals(1, parts().size());
    assertFalse(Files.exists(repo().resolve("refs/main")), "a ref to half a model");
    assertArrayEquals(weights, Files.readAllBytes(hub().resolve(REPO).resolve(WEIGHTS)));
    assertResumedAfter(120_000);
    assertEquals(List.of(), parts());
  }

  @Test
  void aServerWithoutRangesStartsAnew() throws IOException {
    server.ranges = false;
    server.failing(WEIGHTS, server.dropAfter(WEIGHTS, 100_000));
    assertArrayEquals(weights, Files.readAllBytes(hub().resolve(REPO).resolve(WEIGHTS)));
    assertEquals(weights.length + 100_000, server.sent(WEIGHTS));
  }

  @Test
  void aStalledConnectionIsLeft() throws IOException {
    server.failing(WEIGHTS, stallAfter(50_000));
    assertArrayEquals(weights, Files.readAllBytes(hub().resolve(REPO).resolve(WEIGHTS)));
    assertTrue(server.requests.stream().anyMatch(r -> "bytes=50000-".equals(r.range())));
  }

  @Test
  void wrongBytesAreFetchedOnceMore() throws IOException {
    server.failing(WEIGHTS, instead(new byte[weights.length]));
    assertArrayEquals(weights, Files.readAllBytes(hub().resolve(REPO).resolve(WEIGHTS)));
  }

  @Test
  void wrongBytesTwiceAreRefused() throws IOException {
    server.failing(WEIGHTS, instead(new byte[weights.length]), instead(new byte[weights.length]));
    assertHolds(failed(REPO), WEIGHTS, "expected checksum " + server.etag(WEIGHTS), "found ");
    assertEquals(List.of(), parts());
    assertFalse(Files.exists(repo().resolve("snapshots/" + COMMIT + "/" + WEIGHTS)));
  }

  @Test
  void smallFilesAreCheckedToo() {
    byte[] other = "{\"model_type\": \"LLAMA\"}".getBytes();
    server.failing("config.json", instead(other), instead(other));
    assertHolds(failed(REPO), "config.json", "expected checksum " + server.etag("config.json"));
  }

  @Test
  void wrongLengths() {
    server.failing(WEIGHTS, instead(new byte[weights.length + 9]), instead(new byte[400_000]));
    assertHolds(failed(REPO), WEIGHTS, "expected 300000 bytes, found more");
    // Ends early, and says so.
    server.failing(WEIGHTS, instead(Arrays.copyOf(weights, 1000)));
    hub().resolve(REPO);
    assertTrue(server.requests.stream().anyMatch(r -> "bytes=1000-".equals(r.range())));
  }

  @Test
  void aBrokenPartIsFound() throws IOException {
    Files.createDirectories(repo().resolve("blobs"));
    Files.write(
        repo().resolve("blobs").resolve(server.etag(WEIGHTS) + ".rlhf4j.incomplete"),
        new byte[1000]);
    assertArrayEquals(weights, Files.readAllBytes(hub().resolve(REPO).resolve(WEIGHTS)));
  }

  @Test
  void theTokenGoesToTheEndpointOnly() throws IOException {
    try (HubServer other = new HubServer().with(WEIGHTS, weights)) {
      other.with("config.json", "{\"model_type\": \"llama\"}").with("tokenizer.json", "{}");
      other.with("additional_chat_templates/tools.jinja", "{{ tools }}");
      server.cdn = other;
      server.failing(WEIGHTS, server.dropAfter(WEIGHTS, 1000));
      hub("HF_TOKEN", "hf_secret").resolve(REPO);
      assertTrue(
          server.requests.stream().allMatch(r -> "Bearer hf_secret".equals(r.authorization())));
      assertEquals(4, other.requests.size());
      other.requests.forEach(r -> assertNull(r.authorization()));
      assertTrue(other.requests.stream().anyMatch(r -> "bytes=1000-".equals(r.range())));
    }
  }

  @Test
  void tokensAndTheirPlaces() throws IOException {
    Path file = Files.writeString(work.resolve("token"), "hf_file\n");
    assertEquals("hf_file", settings("HF_TOKEN_PATH", file.toString()).token().get());
    assertEquals("hf_b", settings("HUGGING_FACE_HUB_TOKEN", "hf_b").token().get());
    assertFalse(settings("HF_TOKEN", "hf_secret").toString().contains("hf_secret"));
    String message =
        assertThrows(InputException.class, () -> settings("HF_TOKEN", "hf secret")).getMessage();
    assertFalse(message.contains("secret"));
    assertTrue(settings().token().isEmpty());
    Files.createDirectories(work.resolve("home"));
    Files.writeString(work.resolve("home/token"), "hf_home");
    assertEquals("hf_home", settings().token().get());
  }

  @Test
  void placesOfTheCache() {
    assertEquals(work.resolve("home/hub"), settings().cache());
    assertEquals(Path.of("/c"), settings("HF_HUB_CACHE", "/c").cache());
    Map<String, String> home = new HashMap<>(Map.of("HOME", "/h"));
    assertEquals(Path.of("/h/.cache/huggingface/hub"), HubSettings.from(home).cache());
    home.put("XDG_CACHE_HOME", "/x");
    assertEquals(Path.of("/x/huggingface/hub"), HubSettings.from(home).cache());
    home.put("HF_HOME", "~/hf");
    assertEquals(Path.of("/h/hf/hub"), HubSettings.from(home).cache());
    assertThrows(InputException.class, () -> settings("HF_ENDPOINT", "file:///etc"));
  }

  @Test
  void redirectsOutOfHttpAreNotFollowed() {
    server.failing(WEIGHTS, status(302, "Location", "file:///etc/passwd"));
    assertHolds(failed(REPO), "redirects to file:///etc/passwd", "not followed");
  }

  @Test
  void noSuchModel() {
    String message = refused("org/nothing");
    assertHolds(
        message, "no such file or folder", "no such model at " + server.endpoint(), "HF_TOKEN");
    server.failing("listing", status(404, "X-Error-Code", "RepoNotFound"));
    assertHolds(refused(REPO), "no such model");
    server.failing("listing", status(401));
    assertHolds(refused(REPO, "HF_TOKEN", "hf_x"), "is the token valid?");
  }

  @Test
  void gatedModels() {
    server.failing(WEIGHTS, status(401, "X-Error-Code", "GatedRepo"));
    assertHolds(
        refused(REPO),
        "accept the model's licence at " + server.endpoint() + "/org/tiny",
        "HF_TOKEN");
    server.failing("listing", status(403));
    assertHolds(refused(REPO), "no access");
  }

  @Test
  void tooManyRequestsAreWaitedOut() {
    server.failing("listing", status(429, "Retry-After", "1"), status(429));
    long start = System.nanoTime();
    hub().resolve(REPO);
    assertTrue(System.nanoTime() - start >= 1_000_000_000L, "Retry-After was not honoured");
    assertEquals(3, server.count("/api/models/"));
    server.failing("listing", status(429, "Retry-After", "86400"));
    assertHolds(failed(REPO + "@v1"), "429", "86400 s");
  }

  @Test
  void aServerThatIsDown() {
    for (int i = 0; i < 5; i++) {
      server.failing("listing", status(500));
    }
    assertHolds(failed(REPO), "500", "5 times in a row", "running again resumes");
    assertEquals(5, server.requests.size());
    server.close();
    assertHolds(failed(REPO), "no connection");
  }

  @Test
  void somethingElseThanAHub() {
    server.failing("listing", instead("<html>".getBytes()));
    assertHolds(failed(REPO), "HF_ENDPOINT");
    server.failing("listing", instead("{\"sha\": \"../..\", \"siblings\": []}".getBytes()));
    assertHolds(failed(REPO), "HF_ENDPOINT");
  }

  @ParameterizedTest
  @ValueSource(strings = {"../config.json", "/etc/passwd", "a/../../b", "a\\b", "a//b", "C:b", ""})
  void namesOutsideTheFolderAreRefused(String name) {
    server.with(name, "x");
    assertHolds(failed(REPO), "expected the name of a file inside the model's folder");
    assertFalse(Files.exists(repo().resolve("blobs")));
  }

  @Test
  void onlyTheShardsThatTheIndexNames() throws IOException {
    server
        .with(
            "model.safetensors.index.json",
            "{\"weight_map\": {\"a\": \"s-1.safetensors\", \"b\": \"s-2.safetensors\","
                + " \"c\": \"s-1.safetensors\"}}")
        .with("s-1.safetensors", "one")
        .with("s-2.safetensors", "two")
        .with("s-3.safetensors", "three");
    Path folder = hub().resolve(REPO);
    assertEquals("one", Files.readString(folder.resolve("s-1.safetensors")));
    assertEquals("two", Files.readString(folder.resolve("s-2.safetensors")));
    assertFalse(Files.exists(folder.resolve("s-3.safetensors")));
    assertFalse(Files.exists(folder.resolve(WEIGHTS)));
    // A shard that was lost is missed.
    Files.delete(folder.resolve("s-2.safetensors").toRealPath());
    assertEquals(folder, hub().resolve(REPO));
    assertEquals("two", Files.readString(folder.resolve("s-2.safetensors")));
    assertEquals(3, server.sent("s-1.safetensors"));
  }

  @Test
  void anIndexCannotLeadOutside() {
    server.with(
        "model.safetensors.index.json", "{\"weight_map\": {\"a\": \"../../x.safetensors\"}}");
    assertHolds(failed(REPO), "../../x.safetensors");
  }

  @Test
  void otherFormats() throws IOException {
    try (HubServer other = new HubServer()) {
      other.with("config.json", "{}").with("q4.gguf", "GGUF4").with("q8.gguf", "GGUF8");
      ModelHub hub = ModelHub.of(settings("HF_ENDPOINT", other.endpoint()));
      String message = assertThrows(InputException.class, () -> hub.resolve(REPO)).getMessage();
      assertHolds(message, "org/tiny:q4.gguf", "q8.gguf");
      Path file = hub.resolve(REPO + ":q8.gguf");
      assertEquals("GGUF8", Files.readString(file));
      assertEquals("q8.gguf", file.getFileName().toString());
      assertEquals(0, other.sent("q4.gguf"));
      int before = other.requests.size();
      assertEquals(file, hub.resolve(REPO + ":q8.gguf"));
      assertEquals(before, other.requests.size());
      message =
          assertThrows(InputException.class, () -> hub.resolve(REPO + ":q2.gguf")).getMessage();
      assertHolds(message, "q2.gguf", "q4.gguf");
    }
    try (HubServer other = new HubServer()) {
      other.with("config.json", "{}").with("pytorch_model.bin", "x");
      ModelHub hub = ModelHub.of(settings("HF_ENDPOINT", other.endpoint()));
      assertHolds(
          assertThrows(InputException.class, () -> hub.resolve(REPO)).getMessage(),
          "pytorch_model.bin",
          "safetensors");
    }
  }

  @Test
  void adapters() throws IOException {
    try (HubServer other = new HubServer()) {
      other.with("adapter_config.json", "{}").with("adapter_model.safetensors", "a");
      other.with("value_head.safetensors", "v").with("training_args.bin", "x");
      ModelHub hub = ModelHub.of(settings("HF_ENDPOINT", other.endpoint()));
      Path folder = hub.resolve(REPO);
      assertEquals("v", Files.readString(folder.resolve("value_head.safetensors")));
      assertFalse(Files.exists(folder.resolve("training_args.bin")));
      int before = other.requests.size();
      hub.resolve(REPO);
      assertEquals(before, other.requests.size());
    }
  }

  @Test
  void aListingWithoutSizes() throws IOException {
    server.blobs = false;
    Path folder = hub().resolve(REPO);
    assertArrayEquals(weights, Files.readAllBytes(folder.resolve(WEIGHTS)));
    assertTrue(server.requests.stream().anyMatch(r -> r.method().equals("HEAD")));
    assertTrue(Files.exists(repo().resolve("blobs").resolve(server.etag(WEIGHTS))));
  }

  @Test
  void fullDisks() {
    String listing =
        "{\"sha\": \"%s\", \"siblings\": [{\"rfilename\": \"config.json\", \"size\": 2, \"blobId\": \"a\"},"
            + "{\"rfilename\": \"model.safetensors\", \"size\": 9000000000000000, \"blobId\": \"b\"}]}";
    server.failing("listing", instead(listing.formatted(COMMIT).getBytes()));
    assertHolds(failed(REPO), "9000000.0 GB", "free", "HF_HUB_CACHE");
    assertEquals(1, server.requests.size());
  }

  @Test
  void manyAtOnceDownloadOnce() throws Exception {
    try (ExecutorService workers = Executors.newFixedThreadPool(6)) {
      List<Callable<Path>> tasks = new ArrayList<>();
      for (int i = 0; i < 6; i++) {
        tasks.add(() -> hub().resolve(REPO));
      }
      for (Future<Path> result : workers.invokeAll(tasks)) {
        assertArrayEquals(weights, Files.readAllBytes(result.get().resolve(WEIGHTS)));
      }
    }
    assertEquals(weights.length, server.sent(WEIGHTS));
  }

  @Test
  void aProcessWaitsForAnother() throws Exception {
    List<Process> processes = new ArrayList<>();
    for (int i = 0; i < 2; i++) {
      ProcessBuilder builder =
          new ProcessBuilder(
              Path.of(System.getProperty("java.home"), "bin", "java").toString(),
              "-cp",
              System.getProperty("java.class.path"),
              "org.rlhf4j.hub.ModelHubTest$Resolve",
              REPO);
      builder.environment().putAll(environment());
      processes.add(builder.inheritIO().start());
    }
    for (Process process : processes) {
      assertEquals(0, process.waitFor());
    }
    assertEquals(weights.length, server.sent(WEIGHTS));
  }

  /** A process of its own. */
  static final class Resolve {
    public static void main(String[] arguments) {
      ModelHub.fromEnvironment().resolve(arguments[0]);
    }
  }

  @Test
  void withoutLinksThereAreCopies() throws IOException {
    HubCache cache = new HubCache(work, REPO, false);
    RepoFile file = new RepoFile("a/b.json", 2, "abc");
    Files.createDirectories(cache.blob(file).getParent());
    Files.writeString(cache.blob(file), "{}");
    cache.link(COMMIT, file);
    Path copy = cache.snapshot(COMMIT).resolve("a/b.json");
    assertFalse(Files.isSymbolicLink(copy));
    assertEquals("{}", Files.readString(copy));
  }

  @Test
  void progressReachesItsEnd() {
    server.failing(WEIGHTS, server.dropAfter(WEIGHTS, 1000), instead(new byte[weights.length]));
    List<Long> seen = new ArrayList<>();
    List<String> notes = new ArrayList<>();
    long[] total = new long[1];
    hub()
        .withProgress(
            new HubProgress() {
              @Override
              public void begin(String model, long done, long all) {
                total[0] = all;
              }

              @Override
              public void at(long done) {
                seen.add(done);
              }

              @Override
              public void note(String text) {
                notes.add(text);
              }
            })
        .resolve(REPO);
    assertEquals(total[0], seen.getLast());
    assertTrue(seen.stream().allMatch(d -> d >= 0 && d <= total[0]), seen::toString);
    assertHolds(notes.toString(), WEIGHTS, "trying again in");
  }
}
