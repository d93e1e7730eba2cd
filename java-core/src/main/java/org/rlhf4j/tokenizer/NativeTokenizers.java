package org.rlhf4j.tokenizer;

import ai.djl.huggingface.tokenizers.jni.LibUtils;
import ai.djl.huggingface.tokenizers.jni.TokenizersLibrary;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;

/**
 * Loads the native library of Hugging Face tokenizers that DJL packages, and calls it directly. DJL's own
 * HuggingFaceTokenizer is not used: its constructors report to a usage counter over the network, and it truncates to 512
 * tokens with a warning unless told otherwise on every path.
 */
final class NativeTokenizers {
  private NativeTokenizers() {}

  /** The library; loaded once, on first use. Throws IllegalStateException when this platform has none. */
  static TokenizersLibrary library() {
    return Holder.LIBRARY;
  }

  private static final class Holder {
    static final TokenizersLibrary LIBRARY = load();
  }

  private static TokenizersLibrary load() {
    Map<String, String> wanted = new LinkedHashMap<>();
    wanted.put("ai.djl.offline", "true"); // else a machine with a GPU downloads another build of the library
    wanted.put("OPT_OUT_TRACKING", "true");
    Path cache = Path.of(System.getProperty("user.home", "."), ".djl.ai");
    if (System.getProperty("ENGINE_CACHE_DIR") == null && System.getProperty("DJL_CACHE_DIR") == null
        && System.getenv("ENGINE_CACHE_DIR") == null && System.getenv("DJL_CACHE_DIR") == null && !canCreate(cache)) {
      wanted.put("ENGINE_CACHE_DIR", Path.of(System.getProperty("java.io.tmpdir"), "djl.ai").toString());
    }
    Map<String, String> before = new LinkedHashMap<>();
    wanted.forEach((key, value) -> before.put(key, System.setProperty(key, value)));
    try {
      LibUtils.checkStatus();
      return TokenizersLibrary.LIB;
    } catch (RuntimeException | LinkageError e) {
      throw new IllegalStateException(
          "the native library of Hugging Face tokenizers could not be loaded for " + System.getProperty("os.name") + " "
              + System.getProperty("os.arch") + " (it is unpacked below " + cache
              + "; the environment variable ENGINE_CACHE_DIR names another folder): " + e.getMessage(),
          e);
    } finally {
      before.forEach(
          (key, value) -> {
            if (value == null) {
              System.clearProperty(key);
            } else {
              System.setProperty(key, value);
            }
          });
    }
  }

  private static boolean canCreate(Path folder) {
    try {
      Files.createDirectories(folder);
      return Files.isWritable(folder);
    } catch (IOException e) {
      return false;
    }
  }
}
