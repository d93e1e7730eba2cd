package org.rlhf4j.bindings;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.FileTime;
import java.security.MessageDigest;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class NativeCacheTest {
  @TempDir Path temp;
  private Path resources;
  private Path cache;
  private URLClassLoader loader;

  @BeforeEach
  void aJarWithTwoLibraries() throws Exception {
    resources = temp.resolve("jar/org/rlhf4j/native/linux-x86_64");
    cache = temp.resolve("cache");
    Files.createDirectories(resources);
    Files.writeString(resources.resolve("libdnnl.so.3"), "oneDNN".repeat(10_000));
    Files.writeString(resources.resolve("librlhf4j.so"), "ours");
    writeManifest("libdnnl.so.3", "librlhf4j.so");
    loader = new URLClassLoader(new URL[] {temp.resolve("jar").toUri().toURL()}, null);
  }

  private void writeManifest(String... names) throws Exception {
    StringBuilder text = new StringBuilder();
    for (String name : names) {
      byte[] sum =
          MessageDigest.getInstance("SHA-256").digest(Files.readAllBytes(resources.resolve(name)));
      text.append(HexFormat.of().formatHex(sum)).append("  ").append(name).append('\n');
    }
    Files.writeString(resources.resolve("libraries.sha256"), text);
  }

  private Path unpack() {
    return NativeCache.unpack(loader, "linux-x86_64", cache);
  }

  @Test
  void unpacksEveryFileAndNothingElse() throws IOException {
    Path directory = unpack();
    assertEquals(List.of("libdnnl.so.3", "librlhf4j.so"), names(directory));
    assertEquals("ours", Files.readString(directory.resolve("librlhf4j.so")));
    assertTrue(directory.startsWith(cache) && directory.getFileName().toString().length() == 64);
  }

  @Test
  void leavesGoodFilesAlone() throws IOException {
    FileTime old = FileTime.fromMillis(1_000_000);
    Path file = unpack().resolve("libdnnl.so.3");
    Files.setLastModifiedTime(file, old);
    unpack();
    assertEquals(old, Files.getLastModifiedTime(file));
  }

  @Test
  void replacesACorruptedFile() throws IOException {
    Path file = unpack().resolve("libdnnl.so.3");
    String good = Files.readString(file);
    Files.writeString(file, "X" + good.substring(1)); // same length, one byte is wrong
    assertEquals(good, Files.readString(unpack().resolve("libdnnl.so.3")));
    Files.writeString(file, "");
    assertEquals(good, Files.readString(unpack().resolve("libdnnl.so.3")));
  }

  @Test
  void anotherVersionGetsAnotherFolder() throws Exception {
    Path first = unpack();
    Files.writeString(resources.resolve("librlhf4j.so"), "ours, newer");
    writeManifest("libdnnl.so.3", "librlhf4j.so");
    Path second = unpack();
    assertFalse(first.equals(second));
    assertEquals("ours", Files.readString(first.resolve("librlhf4j.so")));
    assertEquals("ours, newer", Files.readString(second.resolve("librlhf4j.so")));
  }

  @Test
  void manyAtOnceAllGetGoodFiles() throws Exception {
    try (var threads = Executors.newFixedThreadPool(8)) {
      List<Callable<Path>> calls = new ArrayList<>();
      for (int i = 0; i < 16; i++) {
        calls.add(this::unpack);
      }
      for (Future<Path> result : threads.invokeAll(calls)) {
        assertEquals(List.of("libdnnl.so.3", "librlhf4j.so"), names(result.get()));
      }
    }
    assertEquals("oneDNN".repeat(10_000), Files.readString(unpack().resolve("libdnnl.so.3")));
  }

  @Test
  void aMissingPlatformIsNamedWithWhatToDo() {
    Error error =
        assertThrows(
            UnsatisfiedLinkError.class, () -> NativeCache.unpack(loader, "plan9-mips", cache));
    assertContains(
        error,
        "plan9-mips",
        "org/rlhf4j/native/plan9-mips/",
        "rlhf4j-bindings-VERSION-plan9-mips.jar",
        "-Drlhf4j.native.dir=",
        "native/build.sh");
  }

  @Test
  void aDamagedJarIsNotUsed() throws IOException {
    Files.writeString(resources.resolve("librlhf4j.so"), "not what the manifest says");
    Error error = assertThrows(UnsatisfiedLinkError.class, this::unpack);
    assertContains(error, "librlhf4j.so", "damaged", "SHA-256");
  }

  @Test
  void aManifestCannotNameAFileElsewhere() throws IOException {
    Files.writeString(resources.resolve("libraries.sha256"), "0".repeat(64) + "  ../escape\n");
    assertContains(assertThrows(UnsatisfiedLinkError.class, this::unpack), "damaged", "../escape");
  }

  @Test
  void aCacheThatCannotBeWrittenIsNamedWithWhatToDo() throws IOException {
    Files.writeString(cache, "a file where the folder should be");
    Error error = assertThrows(UnsatisfiedLinkError.class, this::unpack);
    assertContains(error, cache.toString(), "XDG_CACHE_HOME", "rlhf4j.native.dir");
  }

  private static List<String> names(Path directory) throws IOException {
    try (Stream<Path> files = Files.list(directory)) {
      return files
          .map(file -> file.getFileName().toString())
          .filter(name -> !name.endsWith(".part"))
          .sorted()
          .toList();
    }
  }

  static void assertContains(Throwable error, String... parts) {
    for (String part : parts) {
      assertTrue(error.getMessage().contains(part), error.getMessage() + " lacks " + part);
    }
  }
}
