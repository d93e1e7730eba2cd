package org.rlhf4j.bindings;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;

import java.lang.reflect.Method;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.Map;
import java.util.TreeMap;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;
import org.rlhf4j.bindings.c.Rlhf4j;

/** The header has not moved on without the generated bindings; needs no jextract. */
class BindingsMatchHeaderTest {
  private static final Path HEADER = Path.of("../native/include/rlhf4j.h");
  private static final String HINT = "run bindings/regenerate.sh";

  @Test
  void checksumOfTheHeaderIsTheOneThatWasGeneratedFrom() throws Exception {
    String recorded = Files.readString(Path.of("src/generated/rlhf4j.h.sha256")).strip();
    byte[] digest = MessageDigest.getInstance("SHA-256").digest(Files.readAllBytes(HEADER));
    assertEquals(HexFormat.of().formatHex(digest), recorded, HINT);
  }

  @Test
  void everyFunctionIsDeclaredWithItsParameters() throws Exception {
    Map<String, Integer> declared = new TreeMap<>();
    Matcher m =
        Pattern.compile("RL_API\\s+[\\w ]+?[ *]+(rl_\\w+)\\(([^;]*)\\);")
            .matcher(Files.readString(HEADER));
    while (m.find()) {
      String parameters = m.group(2).strip();
      declared.put(m.group(1), parameters.equals("void") ? 0 : parameters.split(",").length);
    }
    assertFalse(declared.isEmpty());
    Map<String, Integer> generated =
        Arrays.stream(Rlhf4j.class.getMethods())
            .filter(x -> declared.containsKey(x.getName()))
            .collect(
                Collectors.toMap(
                    Method::getName, Method::getParameterCount, (a, b) -> a, TreeMap::new));
    assertEquals(declared, generated, HINT);
  }

  @Test
  void abiVersionIsTheHeaders() throws Exception {
    Matcher m = Pattern.compile("#define RL_ABI_VERSION (\\d+)").matcher(Files.readString(HEADER));
    m.find();
    assertEquals(Integer.parseInt(m.group(1)), Rlhf4j.RL_ABI_VERSION(), HINT);
  }
}
