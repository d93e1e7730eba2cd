package org.rlhf4j.tokenizer;

import ai.djl.huggingface.tokenizers.jni.LibUtils;
import ai.djl.huggingface.tokenizers.jni.TokenizersLibrary;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.Locale;
import java.util.Properties;

/**
 * Loads the native library of Hugging Face tokenizers that DJL packages, and calls it directly.
 *
 * <p>DJL's own classes above it are not used: HuggingFaceTokenizer reports to a usage counter over
 * the network and truncates to 512 tokens unless told otherwise on every path; its loader asks
 * about GPUs, may download another build, and costs a tenth of a second. So the library is unpacked
 * here, once, into a cache folder.
 */
final class NativeTokenizers {
  private static final String RESOURCES = "/native/lib/";

  private NativeTokenizers() {}

  /**
   * The library; loaded once, on first use. Throws IllegalStateException when this platform has
   * none.
   */
  static TokenizersLibrary library() {
    return Holder.LIBRARY;
  }

  private static final class Holder {
    static final TokenizersLibrary LIBRARY = load();
  }

  private static TokenizersLibrary load() {
    String platform = platform();
    String file = platform.startsWith("osx") ? "libtokenizers.dylib" : "libtokenizers.so";
    String resource = RESOURCES + platform + "/cpu/" + file;
    try {
      if (TokenizersLibrary.class.getResource(resource) == null) {
        // Windows needs more than one file: left to DJL, kept off the network.
        System.setProperty("ai.djl.offline", "true");
        LibUtils.checkStatus();
      } else {
        loadUnpacked(resource, "tokenizers-" + version() + "-" + platform, file);
      }
      return TokenizersLibrary.LIB;
    } catch (IOException | RuntimeException | LinkageError e) {
      throw new IllegalStateException(
          "the native library of Hugging Face tokenizers could not be loaded on "
              + platform
              + " (RLHF4J_CACHE names the folder it is unpacked in): "
              + e.getMessage(),
          e);
    }
  }

  private static void loadUnpacked(String resource, String folder, String file) throws IOException {
    Path cache = cacheFolder();
    if (cache != null) {
      Path library = cache.resolve(folder).resolve(file);
      if (!Files.isRegularFile(library)) {
        Files.createDirectories(library.getParent());
        // Two processes may unpack at once: each writes its own file, the renames are atomic.
        Path own = Files.createTempFile(library.getParent(), file, ".tmp");
        unpack(resource, own);
        Files.move(own, library, StandardCopyOption.ATOMIC_MOVE);
      }
      System.load(library.toAbsolutePath().toString());
      return;
    }
    // No home to write to: a private folder for this process, since a shared one could be tampered
    // with.
    Path own = Files.createTempDirectory("rlhf4j");
    Path library = own.resolve(file);
    unpack(resource, library);
    System.load(library.toString());
    Files.deleteIfExists(library); // mapped by now
    Files.deleteIfExists(own);
  }

  private static void unpack(String resource, Path file) throws IOException {
    try (InputStream in = TokenizersLibrary.class.getResourceAsStream(resource)) {
      Files.copy(in, file, StandardCopyOption.REPLACE_EXISTING);
    }
  }

  /** RLHF4J_CACHE, else the user's cache folder; null when neither can be written. */
  private static Path cacheFolder() {
    String named = System.getenv("RLHF4J_CACHE");
    String xdg = System.getenv("XDG_CACHE_HOME");
    Path folder =
        named != null && !named.isEmpty()
            ? Path.of(named)
            : (xdg != null && !xdg.isEmpty()
                    ? Path.of(xdg)
                    : Path.of(System.getProperty("user.home", "."), ".cache"))
                .resolve("rlhf4j");
    try {
      Files.createDirectories(folder);
      return Files.isWritable(folder) ? folder : null;
    } catch (IOException e) {
      return null;
    }
  }

  private static String version() throws IOException {
    Properties properties = new Properties();
    try (InputStream in =
        TokenizersLibrary.class.getResourceAsStream(RESOURCES + "tokenizers.properties")) {
      if (in != null) {
        properties.load(in);
      }
    }
    return properties.getProperty("version", "unknown");
  }

  private static String platform() {
    String os = System.getProperty("os.name").toLowerCase(Locale.ROOT);
    String arch =
        System.getProperty("os.arch").equals("amd64") ? "x86_64" : System.getProperty("os.arch");
    return (os.startsWith("mac") ? "osx" : os.startsWith("win") ? "win" : "linux") + "-" + arch;
  }
}
