package org.rlhf4j.testing;

import static org.junit.jupiter.api.Assumptions.assumeTrue;

import com.fasterxml.jackson.databind.JsonNode;
import java.nio.file.Files;
import java.nio.file.Path;
import org.rlhf4j.checkpoint.SafetensorsFile;
import org.rlhf4j.checkpoint.StoredTensor;
import org.rlhf4j.json.Json;

/**
 * The golden reference data and the real model, which are not part of the repository. A test that
 * asks for what is not there is skipped with a message that says how to provide it.
 */
public final class Golden {
  private Golden() {}

  /**
   * A file or folder of the golden data; skips the test when the data is missing, or, where {@code
   * rlhf4j.golden.partial} says that some was left out, this file.
   */
  public static Path path(String relative) {
    Path root = root();
    assumeTrue(
        root != null,
        "skipped: no golden data; -Drlhf4j.golden=DIR names it (default ../shared/golden)");
    Path path = root.resolve(relative);
    assumeTrue(
        !Boolean.getBoolean("rlhf4j.golden.partial") || Files.exists(path),
        () -> "skipped: " + path + " was left out");
    return path;
  }

  /** A JSON file of the golden data. */
  public static JsonNode json(String relative) {
    return Json.readObject(path(relative));
  }

  /** A safetensors file of the golden data; the caller closes it. */
  public static SafetensorsFile tensors(String relative) {
    return SafetensorsFile.open(path(relative));
  }

  /** A whole tensor as f32, row-major. */
  public static float[] floats(SafetensorsFile file, String name) {
    StoredTensor tensor = file.tensor(name);
    float[] values = new float[Math.toIntExact(tensor.elements())];
    tensor.read(0, values.length, values, 0);
    return values;
  }

  /** A whole tensor of whole numbers below 2^24 (token ids, masks). */
  public static int[] ints(SafetensorsFile file, String name) {
    float[] values = floats(file, name);
    int[] result = new int[values.length];
    for (int i = 0; i < values.length; i++) {
      result[i] = (int) values[i];
    }
    return result;
  }

  /** SmolLM2-135M-Instruct as a GGUF file (Q4_1); skips the test when it is missing. */
  public static Path smolLm2() {
    String named = setting("rlhf4j.smollm2", "RLHF4J_SMOLLM2");
    assumeTrue(
        named != null && Files.isRegularFile(Path.of(named)),
        "skipped: no SmolLM2 GGUF file; -Drlhf4j.smollm2=FILE or RLHF4J_SMOLLM2 names it");
    return Path.of(named);
  }

  private static Path root() {
    String named = setting("rlhf4j.golden", "RLHF4J_GOLDEN");
    if (named != null) {
      // Maven runs each module's tests in the module's folder: a relative name may mean the
      // project's.
      for (Path at = Path.of("").toAbsolutePath(); at != null; at = at.getParent()) {
        if (Files.isDirectory(at.resolve(named))) {
          return at.resolve(named);
        }
      }
      return null;
    }
    for (Path at = Path.of("").toAbsolutePath(); at != null; at = at.getParent()) {
      Path candidate = at.resolveSibling("shared").resolve("golden");
      if (Files.isDirectory(candidate)) {
        return candidate;
      }
    }
    return null;
  }

  private static String setting(String property, String variable) {
    String value = System.getProperty(property, "");
    if (value.isEmpty()) {
      value = System.getenv().getOrDefault(variable, "");
    }
    return value.isEmpty() ? null : value;
  }
}
