package org.rlhf4j.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.ByteArrayOutputStream;
import java.io.File;
import java.io.PrintStream;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import javax.tools.ToolProvider;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.rlhf4j.testing.Golden;

/** examples/Embed.java compiles as it stands, and does what it says. */
class EmbeddingTest {
  @TempDir Path classes;

  private static Path examples() {
    for (Path at = Path.of("").toAbsolutePath(); at != null; at = at.getParent()) {
      if (Files.isRegularFile(at.resolve("examples/Embed.java"))) {
        return at.resolve("examples");
      }
    }
    throw new AssertionError("no examples/Embed.java above " + Path.of("").toAbsolutePath());
  }

  @Test
  void theExampleRuns() throws Exception {
    ByteArrayOutputStream said = new ByteArrayOutputStream();
    int code =
        ToolProvider.getSystemJavaCompiler()
            .run(
                null,
                said,
                said,
                "-Xlint:all,-options,-processing,-path",
                "-proc:none",
                "-cp",
                System.getProperty("java.class.path") + File.pathSeparator + classpath(),
                "-d",
                classes.toString(),
                examples().resolve("Embed.java").toString());
    assertEquals("", said.toString(StandardCharsets.UTF_8));
    assertEquals(0, code);

    Path model = Golden.path("models/llama");
    ByteArrayOutputStream printed = new ByteArrayOutputStream();
    PrintStream out = System.out;
    try (URLClassLoader loader = new URLClassLoader(new URL[] {classes.toUri().toURL()})) {
      System.setOut(new PrintStream(printed, true, StandardCharsets.UTF_8));
      Object[] arguments = {
        new String[] {
          model.toString(),
          examples().resolve("data/demonstrations.jsonl").toString(),
          "Is the museum open?"
        }
      };
      loader.loadClass("Embed").getMethod("main", String[].class).invoke(null, arguments);
    } finally {
      System.setOut(out);
    }
    List<String> lines = printed.toString(StandardCharsets.UTF_8).lines().toList();
    double first = Double.parseDouble(lines.get(0).substring("loss ".length()));
    double last = Double.parseDouble(lines.get(9).substring("loss ".length()));
    assertTrue(last < first, lines::toString);
    assertTrue(lines.get(10).startsWith("Is the museum open?"), lines::toString);
  }

  /** The engine's own classes, wherever the build has put them. */
  private static String classpath() throws Exception {
    return Path.of(Main.class.getProtectionDomain().getCodeSource().getLocation().toURI())
        .toString();
  }
}
