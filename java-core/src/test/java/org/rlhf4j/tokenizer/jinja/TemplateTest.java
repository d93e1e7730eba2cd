package org.rlhf4j.tokenizer.jinja;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.io.InputStream;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestFactory;
import org.rlhf4j.json.Json;

/** The language, construct by construct, as Jinja2 renders it; see chat-templates/generate.py. */
class TemplateTest {
  @TestFactory
  @SuppressWarnings("unchecked")
  Stream<DynamicTest> rendersAsJinja2() throws IOException {
    JsonNode all;
    try (InputStream in = TemplateTest.class.getResourceAsStream("/chat-templates/cases.json")) {
      all = Json.MAPPER.readTree(in);
    }
    Map<String, Object> data = Json.MAPPER.convertValue(all.get("data"), Map.class);
    List<DynamicTest> tests = new ArrayList<>();
    for (JsonNode c : all.get("snippets")) {
      String source = c.get("source").asText();
      tests.add(
          DynamicTest.dynamicTest(
              source.length() > 60 ? source.substring(0, 60) : source,
              () -> {
                if (c.has("error")) {
                  JinjaException e =
                      assertThrows(JinjaException.class, () -> new Template(source).render(data));
                  assertTrue(e.getMessage().startsWith("line 1: "), e.getMessage());
                } else {
                  assertEquals(c.get("text").asText(), new Template(source).render(data));
                }
              }));
    }
    return tests.stream();
  }

  private static String fault(String source) {
    return assertThrows(
            JinjaException.class, () -> new Template(source).render(Map.of("n", 1_000_000)))
        .getMessage();
  }

  @Test
  void faultsSayWhere() {
    assertEquals("line 3: 'x' is undefined", fault("a\n{% if n %}\n{{ x.y }}{% endif %}"));
    assertEquals("line 2: 'dict object' has no attribute 'b'", fault("\n{{ {'a': 1}.b.c }}"));
    assertEquals("line 2: expected 'endif', found 'endfor'", fault("{% if n %}\n{% endfor %}"));
    assertEquals(
        "line 1: No filter named 'nope'.", fault("{% if false %}{{ n | nope }}{% endif %}"));
    assertEquals(
        "line 2: expected a name, found string", fault("\n{% for 'x' in n %}{% endfor %}"));
    assertTrue(fault("{% if n %}").contains("found the end of the template"));
    for (String wrong :
        new String[] {
          "{{ 'a'.split(sep=1) }}",
          "{{ 'a'.replace('b') }}",
          "{{ {}.get() }}",
          "{{ range() }}",
          "{{ 3 is divisibleby }}",
          "{{ {1: 2, 'a': 3} | tojson(sort_keys=true) }}"
        }) {
      assertTrue(fault(wrong).startsWith("line 1: "), wrong);
    }
  }

  /** A model file must not be able to stop the process. */
  @Test
  void hostileTemplatesEndInAFault() {
    assertTrue(fault("{{ 'x' * n }}").contains("too long"));
    assertTrue(fault("{{ range(n * n) }}").contains("Range too big"));
    assertTrue(fault("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}").contains("without end"));
    assertTrue(fault("{{ " + "(".repeat(100_000)).contains("line 1"));
    assertTrue(fault("{{ " + "(".repeat(5_000) + "1" + ")".repeat(5_000) + " }}").contains("deep"));
    assertTrue(fault("{{ " + "not ".repeat(200_000) + "n }}").contains("deep"));
    assertTrue(fault("{% if n %}".repeat(100_000)).contains("deep"));
  }
}
