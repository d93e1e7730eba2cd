package org.rlhf4j.tokenizer;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.io.InputStream;
import java.time.LocalDateTime;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestFactory;
import org.rlhf4j.InputException;
import org.rlhf4j.json.Json;
import org.rlhf4j.testing.Golden;

class ChatTemplateTest {
  private static final SpecialTokens SPECIAL = new SpecialTokens("<s>", "</s>", null, null);

  @SuppressWarnings("unchecked")
  private static List<Message> messages(JsonNode list) {
    List<Message> result = new ArrayList<>();
    for (JsonNode m : list) {
      Map<String, Object> more = Json.MAPPER.convertValue(m, Map.class);
      more.keySet().removeAll(List.of("role", "content"));
      result.add(new Message(m.get("role").asText(), m.get("content").textValue(), more));
    }
    return result;
  }

  @Test
  void rendersAsTheReference() {
    JsonNode golden = Golden.json("tokenizer.json");
    for (JsonNode c : golden.get("chat")) {
      ChatTemplate template =
          new ChatTemplate(golden.at("/templates/" + c.get("template").asText()).asText(), SPECIAL);
      assertEquals(
          c.get("text").asText(),
          template.render(messages(c.get("messages")), c.get("add_generation_prompt").asBoolean()));
    }
    JsonNode error = golden.get("chat_error");
    ChatTemplate template =
        new ChatTemplate(
            golden.at("/templates/" + error.get("template").asText()).asText(), SPECIAL);
    InputException e =
        assertThrows(
            InputException.class, () -> template.render(messages(error.get("messages")), false));
    assertTrue(e.getMessage().endsWith(error.get("error").asText()), e.getMessage());
  }

  /**
   * Templates of the models' formats, and constructs of them, rendered by Jinja2 itself; see
   * chat-templates/generate.py.
   */
  @TestFactory
  @SuppressWarnings("unchecked")
  Stream<DynamicTest> rendersAsJinja2() throws IOException {
    List<DynamicTest> tests = new ArrayList<>();
    for (String file : List.of("constructs", "cases")) {
      JsonNode all;
      try (InputStream in =
          ChatTemplateTest.class.getResourceAsStream("/chat-templates/" + file + ".json")) {
        all = Json.MAPPER.readTree(in);
      }
      for (JsonNode c : all.get("cases")) {
        String name = c.get("template").asText();
        ChatTemplate template = new ChatTemplate(all.get("templates").get(name).asText(), SPECIAL);
        Map<String, Object> extra = Json.MAPPER.convertValue(c.get("extra"), Map.class);
        boolean prompt = c.get("add_generation_prompt").asBoolean();
        List<Message> messages = messages(c.get("messages"));
        tests.add(
            DynamicTest.dynamicTest(
                name + " " + tests.size(),
                () -> {
                  if (c.has("error")) {
                    InputException e =
                        assertThrows(
                            InputException.class, () -> template.render(messages, prompt, extra));
                    // Of faults in the second file, only the kind is kept.
                    assertTrue(
                        file.equals("cases") || e.getMessage().endsWith(c.get("error").asText()),
                        e.getMessage());
                  } else {
                    assertEquals(c.get("text").asText(), template.render(messages, prompt, extra));
                  }
                }));
      }
    }
    return tests.stream();
  }

  @Test
  void messagesAreNeverRunAsTemplates() {
    ChatTemplate template = new ChatTemplate("{{ messages[0].content }}", SPECIAL);
    for (String text :
        new String[] {
          "{{ 7 * 7 }}",
          "{% for x in y %}",
          "{# gone? #}",
          "{{ bos_token }}",
          "\\n",
          "\u0001\t\u001b\u2028"
        }) {
      assertEquals(text, template.render(List.of(new Message("user", text)), false));
    }
  }

  @Test
  void faultsAreInputExceptions() {
    assertThrows(InputException.class, () -> new ChatTemplate("{{ messages ", SPECIAL));
    assertThrows(InputException.class, () -> new ChatTemplate("{% for m in x ", SPECIAL));
    for (String source :
        new String[] {"{% nonsense %}", "{{ messages[ }}", "{% for m in messages %}x"}) {
      assertThrows(
          InputException.class,
          () -> new ChatTemplate(source, SPECIAL).render(List.of(new Message("user", "x")), false),
          source);
    }
  }

  @Test
  void timeIsPythons() {
    LocalDateTime time = LocalDateTime.of(2026, 3, 5, 14, 7, 9);
    assertEquals("05 Mar 2026", PythonTime.format(time, "%d %b %Y"));
    assertEquals(
        "Thursday, March 05, 26 02:07:09 PM 100%",
        PythonTime.format(time, "%A, %B %d, %y %I:%M:%S %p 100%%"));
    String year = new ChatTemplate("{{ strftime_now('%Y') }}", SPECIAL).render(List.of(), false);
    assertEquals(4, year.length());
  }
}
