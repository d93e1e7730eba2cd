package org.rlhf4j.bindings;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/**
 * Finds and loads librlhf4j with the libraries that it needs. The system property {@code
 * rlhf4j.native.dir} names a folder that holds them; without it they come from the class path's jar
 * for this platform, by way of {@link NativeCache}. Every failure is an {@link
 * UnsatisfiedLinkError} whose message says what is missing, where it was looked for, and what to
 * do.
 */
final class NativeLibrary {
  static final String DIRECTORY_PROPERTY = "rlhf4j.native.dir";

  /**
   * What is loaded ahead of librlhf4j, so that the dynamic linker finds it whatever its search
   * path.
   */
  private static final List<Pattern> DEPENDENCIES =
      List.of(
          Pattern.compile("lib(gomp|omp|iomp5)\\.(so.*|.*dylib)"),
          Pattern.compile("libdnnl\\.(so.*|.*dylib)"));

  private NativeLibrary() {}

  static void load() {
    String named = System.getProperty(DIRECTORY_PROPERTY);
    if (named != null && !named.isBlank()) {
      loadFrom(Path.of(named).toAbsolutePath());
    } else {
      loadFrom(
          NativeCache.unpack(
              NativeLibrary.class.getClassLoader(), platform(), NativeCache.defaultRoot()));
    }
  }

  /** The platform as the jar with the native libraries names it, for example linux-x86_64. */
  static String platform() {
    return platform(System.getProperty("os.name"), System.getProperty("os.arch"));
  }

  static String platform(String osName, String osArch) {
    String os = osName.toLowerCase(Locale.ROOT);
    String system =
        os.startsWith("mac")
            ? "macosx"
            : os.startsWith("windows") ? "windows" : os.replaceAll("\\s", "");
    String arch =
        switch (osArch) {
          case "amd64", "x86_64" -> "x86_64";
          case "aarch64", "arm64" -> "arm64";
          default -> osArch;
        };
    return system + "-" + arch;
  }

  static void loadFrom(Path directory) {
    Path library = directory.resolve(System.mapLibraryName("rlhf4j"));
    if (!Files.isDirectory(directory)) {
      throw new UnsatisfiedLinkError(
          "native library: no folder "
              + directory
              + ", which the system property "
              + DIRECTORY_PROPERTY
              + " names. Build the library with native/build.sh, or name the folder that holds "
              + library.getFileName());
    }
    if (!Files.isRegularFile(library)) {
      throw new UnsatisfiedLinkError(
          "native library: no "
              + library.getFileName()
              + " in "
              + directory
              + ". Build it with native/build.sh, or name its folder with -D"
              + DIRECTORY_PROPERTY
              + "=DIR");
    }
    for (Pattern dependency : DEPENDENCIES) {
      Path found = find(directory, dependency);
      // A process with two OpenMP run times has two sets of threads: one that is there already
      // stays.
      if (found != null && !isLoaded(found.getFileName())) {
        load(found);
      }
    }
    load(library);
  }

  private static Path find(Path directory, Pattern name) {
    try (Stream<Path> files = Files.list(directory)) {
      return files
          .filter(file -> name.matcher(file.getFileName().toString()).matches())
          .min(Path::compareTo)
          .orElse(null);
    } catch (IOException e) {
      throw linkError("native library: cannot list " + directory + ": " + e, e);
    }
  }

  /** Whether some library of this file name is in the process. Known on Linux only. */
  private static boolean isLoaded(Path fileName) {
    try (Stream<String> maps = Files.lines(Path.of("/proc/self/maps"))) {
      return maps.anyMatch(line -> line.endsWith("/" + fileName));
    } catch (IOException | RuntimeException e) {
      return false;
    }
  }

  private static void load(Path library) {
    try {
      System.load(library.toString());
    } catch (UnsatisfiedLinkError e) {
      throw linkError(explain(library, String.valueOf(e.getMessage())), e);
    } catch (IllegalCallerException e) {
      throw linkError(
          "native library: the JVM forbids native code. Pass --enable-native-access=ALL-UNNAMED"
              + " to java",
          e);
    }
  }

  /** The dynamic linker's words, with what to do about them. */
  static String explain(Path library, String said) {
    String prefix = library + ": ";
    String reason = said.startsWith(prefix) ? said.substring(prefix.length()) : said;
    String advice = "";
    Matcher missing =
        Pattern.compile("(\\S+\\.(?:so[.0-9]*|dylib)): cannot open shared object").matcher(reason);
    Matcher symbols =
        Pattern.compile("version `((?:GLIBC|GLIBCXX|CXXABI|GOMP|OMP)_[0-9.]+)' not found")
            .matcher(reason);
    if (symbols.find()) {
      advice =
          ". The library was built on a newer system ("
              + symbols.group(1)
              + "): build it on this machine with native/build.sh";
    } else if (missing.find()) {
      String name = missing.group(1);
      String from =
          name.startsWith("libstdc++")
              ? "install the package libstdc++6"
              : name.startsWith("libgomp")
                  ? "install the package libgomp1"
                  : "run native/build.sh, which puts it there";
      advice =
          ". "
              + name
              + " was looked for in "
              + library.getParent()
              + " and in the system's library folders: "
              + from;
    } else if (reason.contains("failed to map segment") || reason.contains("not permitted")) {
      advice =
          ". Is the file system mounted noexec? Set XDG_CACHE_HOME to a folder elsewhere, or name a"
              + " folder with the libraries by -D"
              + DIRECTORY_PROPERTY
              + "=DIR";
    } else if (reason.contains("wrong ELF class") || reason.contains("cannot open shared object")) {
      advice = ". The file is not for " + platform() + ": build it with native/build.sh";
    }
    return "native library: cannot load " + library + ": " + reason + advice;
  }

  static UnsatisfiedLinkError linkError(String message, Throwable cause) {
    UnsatisfiedLinkError error = new UnsatisfiedLinkError(message);
    error.initCause(cause);
    return error;
  }
}
