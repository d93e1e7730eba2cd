package org.rlhf4j.bindings;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.rlhf4j.bindings.NativeCacheTest.assertContains;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.EnabledOnOs;
import org.junit.jupiter.api.condition.OS;
import org.junit.jupiter.api.io.TempDir;

class NativeLibraryTest {
  @TempDir Path temp;

  @Test
  void namesPlatformsAsTheJarsDo() {
    assertEquals("linux-x86_64", NativeLibrary.platform("Linux", "amd64"));
    assertEquals("linux-arm64", NativeLibrary.platform("Linux", "aarch64"));
    assertEquals("macosx-arm64", NativeLibrary.platform("Mac OS X", "aarch64"));
    assertEquals("windows-x86_64", NativeLibrary.platform("Windows 11", "amd64"));
    assertEquals("linux-riscv64", NativeLibrary.platform("Linux", "riscv64"));
  }

  @Test
  void aMissingFolderIsNamed() {
    Path folder = temp.resolve("nowhere");
    Error error = assertThrows(UnsatisfiedLinkError.class, () -> NativeLibrary.loadFrom(folder));
    assertContains(error, folder.toString(), "rlhf4j.native.dir", "native/build.sh");
  }

  @Test
  void aFolderWithoutTheLibraryIsNamed() {
    Error error = assertThrows(UnsatisfiedLinkError.class, () -> NativeLibrary.loadFrom(temp));
    assertContains(error, System.mapLibraryName("rlhf4j"), temp.toString(), "native/build.sh");
  }

  @Test
  void anEmptyFileIsNamedWithTheLinkersWords() throws IOException {
    Path library = temp.resolve(System.mapLibraryName("rlhf4j"));
    Files.createFile(library);
    Error error = assertThrows(UnsatisfiedLinkError.class, () -> NativeLibrary.loadFrom(temp));
    assertContains(error, "cannot load " + library);
  }

  @Test
  void aMissingDependencyIsNamedWithWhereItWasLookedFor() {
    String message =
        NativeLibrary.explain(
            Path.of("/opt/x/librlhf4j.so"),
            "/opt/x/librlhf4j.so: libdnnl.so.3: cannot open shared object file: No such file or"
                + " directory");
    assertEquals(
        "native library: cannot load /opt/x/librlhf4j.so: libdnnl.so.3: cannot open shared object"
            + " file: No such file or directory. libdnnl.so.3 was looked for in /opt/x and in the"
            + " system's library folders: run native/build.sh, which puts it there",
        message);
  }

  @Test
  void aLibraryOfANewerSystemSaysSo() {
    String message =
        NativeLibrary.explain(
            Path.of("/opt/x/librlhf4j.so"),
            "/opt/x/librlhf4j.so: /lib/libc.so.6: version `GLIBC_2.38' not found (required by x)");
    assertTrue(message.contains("newer system (GLIBC_2.38)"), message);
  }

  @Test
  @EnabledOnOs(OS.LINUX)
  void theProcessHoldsOneOpenMpRunTime() throws IOException {
    Native.load();
    List<String> runTimes;
    try (var maps = Files.lines(Path.of("/proc/self/maps"))) {
      runTimes =
          maps.filter(line -> line.matches(".*/lib(gomp|omp|iomp5)\\.so.*"))
              .map(line -> line.substring(line.indexOf('/')))
              .distinct()
              .toList();
    }
    assertEquals(1, runTimes.size(), runTimes.toString());
    String folder = System.getProperty(NativeLibrary.DIRECTORY_PROPERTY);
    assertEquals(Path.of(folder).toRealPath(), Path.of(runTimes.get(0)).getParent().toRealPath());
  }
}
