package org.rlhf4j.data;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Map;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.rlhf4j.InputException;
import org.rlhf4j.data.ReadOptions.Overlong;
import org.rlhf4j.json.Json;
import org.rlhf4j.testing.Golden;
import org.rlhf4j.tokenizer.ChatTemplate;
import org.rlhf4j.tokenizer.Tokenizer;

/** Layouts of well-known data sets, column mapping, and what happens to rows that are too long. */
class LayoutsTest {
  private static final ReadOptions DEFAULTS = ReadOptions.defaults();
  private static final String USER = "<|im_start|>user\n";
  private static final String ASSISTANT = "<|im_end|>\n<|im_start|>assistant\n";

  @TempDir Path folder;
  private Tokenizer tokenizer;
  private ChatTemplate template;

  @BeforeEach
  void open() {
    Path model = Golden.path("models/llama");
    tokenizer = Tokenizer.open(model);
    template =
        new ChatTemplate(
            Json.readText(model.resolve("chat_template.jinja")), tokenizer.specialTokens());
  }

  @AfterEach
  void close() {
    if (tokenizer != null) {
      tokenizer.close();
    }
  }

  private Path file(String name, String... lines) throws IOException {
    return Files.writeString(folder.resolve(name), String.join("\n", lines) + "\n");
  }

  private String text(int[] ids) {
    return tokenizer.decode(ids, false);
  }

  /** What precedes and what is learnt, with a bar between them. */
  private String sft(ReadOptions options, ChatTemplate chat, String line) throws IOException {
    Demonstration d =
        Demonstrations.read(file("s.jsonl", line), tokenizer, chat, options).records().get(0);
    return text(Arrays.copyOf(d.ids(), d.promptLength()))
        + "|"
        + text(Arrays.copyOfRange(d.ids(), d.promptLength(), d.ids().length));
  }

  private Preference pair(ReadOptions options, ChatTemplate chat, String... lines)
      throws IOException {
    return Preferences.read(file("p.jsonl", lines), tokenizer, chat, options).records().getLast();
  }

  private String chosen(Preference p) {
    return text(Arrays.copyOf(p.chosenIds(), p.promptLength()))
        + "|"
        + text(Arrays.copyOfRange(p.chosenIds(), p.promptLength(), p.chosenIds().length));
  }

  private String rejected(Preference p) {
    return text(Arrays.copyOfRange(p.rejectedIds(), p.promptLength(), p.rejectedIds().length));
  }

  private static String fault(org.junit.jupiter.api.function.Executable read) {
    return assertThrows(InputException.class, read).getMessage();
  }

  @Test
  void shareGptAndAlpaca() throws IOException {
    String rendered =
        sft(
            DEFAULTS,
            template,
            "{\"messages\": [{\"role\": \"user\", \"content\": \"hi\"}, {\"role\": \"assistant\", \"content\": \"yo\"}]}");
    assertEquals(
        rendered,
        sft(
            DEFAULTS,
            template,
            "{\"conversations\": [{\"from\": \"human\", \"value\": \"hi\"}, {\"from\": \"gpt\", \"value\": \"yo\"}]}"));
    assertEquals(
        rendered,
        sft(
            DEFAULTS,
            template,
            "{\"conversations\": [{\"role\": \"user\", \"content\": [{\"type\": \"text\", \"text\": \"hi\"}]}, {\"role\": \"assistant\", \"content\": \"yo\"}]}"));
    assertTrue(
        fault(
                () ->
                    sft(
                        DEFAULTS,
                        template,
                        "{\"conversations\": [{\"from\": \"dog\", \"value\": \"wuff\"}]}"))
            .contains(
                "s.jsonl:1: 'conversations'[0]: 'from': expected human, gpt, system or tool, found 'dog'"));
    String alpaca =
        "{\"instruction\": \"Add.\", \"input\": \"1, 2\", \"output\": \"3\", \"text\": \"Add. 1, 2 3\"}";
    assertTrue(
        sft(DEFAULTS, template, alpaca)
            .endsWith(USER + "Add.\n\n1, 2" + ASSISTANT + "|3<|im_end|>\n"),
        sft(DEFAULTS, template, alpaca));
    assertEquals("Add.\n\n1, 2\n\n|3<|end|>", sft(DEFAULTS, null, alpaca));
    assertEquals("Add.\n\n|3<|end|>", sft(DEFAULTS, null, alpaca.replace("1, 2\"", "\"")));
    assertEquals(
        "|Add. 1, 2 3<|end|>",
        sft(DEFAULTS.withColumns(Map.of("text", "text")), null, alpaca),
        "what is mapped is meant");
  }

  @Test
  void columnsAreMapped() throws IOException {
    ReadOptions mapped = DEFAULTS.withColumns(Map.of("prompt", "q", "completion", "a"));
    assertEquals("x|y<|end|>", sft(mapped, null, "{\"q\": \"x\", \"a\": \"y\", \"messages\": []}"));
    assertEquals(
        folder.resolve("s.jsonl")
            + ":1: columns.prompt: expected the column 'q', found the keys 'query', 'a'",
        fault(
                () ->
                    sft(
                        DEFAULTS.withColumns(Map.of("prompt", "q")),
                        null,
                        "{\"query\": \"x\", \"a\": \"y\"}"))
            .split("; did")[0]);
    assertTrue(
        fault(
                () ->
                    sft(
                        DEFAULTS.withColumns(Map.of("prompt", "instuction")),
                        null,
                        "{\"instruction\": \"x\"}"))
            .contains("did you mean instruction?"));
    assertTrue(
        fault(() -> sft(mapped, null, "{\"q\": \"x\", \"a\": 3}"))
            .contains("'a': expected a string, found a number (3)"));
    Path csv = file("c.csv", "Frage,gut,schlecht", "q1,a,b", "\"q,2\",c,d");
    ReadOptions german =
        DEFAULTS.withColumns(Map.of("question", "Frage", "chosen", "gut", "rejected", "schlecht"));
    Dataset<Preference> read = Preferences.read(csv, tokenizer, null, german);
    assertArrayEquals(tokenizer.encode("q,2c", true), read.records().get(1).chosenIds());
    Path lists =
        file("l.csv", "chat", "\"[{\"\"role\"\": \"\"user\"\", \"\"content\"\": \"\"hi\"\"}]\"");
    assertTrue(
        text(Queries.read(
                    lists, tokenizer, template, DEFAULTS.withColumns(Map.of("messages", "chat")))
                .records()
                .get(0)
                .ids())
            .endsWith(USER + "hi" + ASSISTANT));
  }

  @Test
  void ultraFeedbackNamesItsPromptTwice() throws IOException {
    String turn = "{\"role\": \"user\", \"content\": \"q\"}, ";
    String good = "{\"role\": \"assistant\", \"content\": \"a\"}";
    String bad = "{\"role\": \"assistant\", \"content\": \"b\"}";
    String scores = ", \"score_chosen\": 8.5, \"score_rejected\": 6";
    Preference implicit =
        pair(
            DEFAULTS,
            template,
            "{\"chosen\": ["
                + turn
                + good
                + "], \"rejected\": ["
                + turn
                + bad
                + "]"
                + scores
                + "}");
    assertTrue(
        chosen(implicit).endsWith(USER + "q" + ASSISTANT + "|a<|im_end|>\n"), chosen(implicit));
    assertEquals("b<|im_end|>\n", rejected(implicit));
    assertEquals(0f, implicit.margin());
    for (String prompt : new String[] {"\"q\"", "[" + turn.substring(0, turn.length() - 2) + "]"}) {
      for (String start : new String[] {turn, ""}) {
        String line =
            "{\"prompt\": "
                + prompt
                + ", \"chosen\": ["
                + start
                + good
                + "], \"rejected\": ["
                + start
                + bad
                + "]"
                + scores
                + "}";
        Preference p = pair(DEFAULTS.withMarginFromScores(true), template, line);
        assertArrayEquals(implicit.chosenIds(), p.chosenIds(), line);
        assertArrayEquals(implicit.rejectedIds(), p.rejectedIds(), line);
        assertEquals(implicit.promptLength(), p.promptLength());
        assertEquals(2.5f, p.margin());
      }
    }
  }

  @Test
  void humanAndAssistant() throws IOException {
    String start = "\\n\\nHuman: hi\\n\\nAssistant: yo\\n\\nHuman: q?\\n\\nAssistant: ";
    String line = "{\"chosen\": \"" + start + "good\", \"rejected\": \"" + start + "go away\"}";
    Preference chat = pair(DEFAULTS, template, line);
    assertTrue(
        chosen(chat)
            .endsWith(
                USER
                    + "hi"
                    + ASSISTANT
                    + "yo<|im_end|>\n"
                    + USER
                    + "q?"
                    + ASSISTANT
                    + "|good<|im_end|>\n"),
        chosen(chat));
    assertEquals("go away<|im_end|>\n", rejected(chat));
    Preference plain = pair(DEFAULTS, null, line);
    assertEquals("\n\nHuman: hi\n\nAssistant: yo\n\nHuman: q?\n\nAssistant:| good", chosen(plain));
    assertEquals(" go away", rejected(plain));
  }

  @Test
  void textsWithoutAQuestion() throws IOException {
    Preference p =
        pair(
            DEFAULTS,
            null,
            "{\"chosen\": \"The sky is blue.\", \"rejected\": \"The sky is green.\"}");
    assertTrue(chosen(p).startsWith("The sky is"), chosen(p));
    assertEquals("The sky is blue.", chosen(p).replace("|", ""));
    assertEquals(RecordReader.commonPrefix(p.chosenIds(), p.rejectedIds()), p.promptLength());
    String named = "{\"question\": \"q\", \"chosen\": \"a\", \"rejected\": \"b\"}";
    assertTrue(
        fault(() -> pair(DEFAULTS, null, named, "{\"chosen\": \"a\", \"rejected\": \"b\"}"))
            .contains(
                "p.jsonl:2: 'question' is missing: expected a string, as in the pairs before"));
    assertTrue(
        fault(() -> pair(DEFAULTS, null, named.replace("question", "qestion")))
            .contains("did you mean 'question' by 'qestion'?"));
  }

  @Test
  void lengthRulesAreCountedAndSaid() throws IOException {
    Path lines =
        file(
            "x.jsonl",
            "{\"prompt_ids\": [1], \"chosen_ids\": [2, 3], \"rejected_ids\": [4]}",
            "{\"prompt_ids\": [1], \"chosen_ids\": [2], \"rejected_ids\": [5]}",
            "{\"prompt_ids\": [1, 2], \"chosen_ids\": [2], \"rejected_ids\": [5]}");
    ReadOptions two = DEFAULTS.withVocabSize(9).withMaxLength(2);
    Dataset<Preference> kept =
        Preferences.read(lines, null, null, two.withOverlong(Overlong.FILTER));
    assertEquals(1, kept.records().size());
    assertArrayEquals(new int[] {1, 5}, kept.records().get(0).rejectedIds());
    assertEquals(2, kept.filtered());
    assertEquals(
        lines + ": 3 rows read, 1 kept, 2 longer than 2 tokens left out", kept.notes().get(0));
    Dataset<Preference> cut = Preferences.read(lines, null, null, two);
    assertEquals(
        lines + ": 3 rows read, 3 kept, 2 longer than 2 tokens cut to their first 2",
        cut.notes().get(0));
    assertTrue(
        cut.notes().get(1).contains("1 records: chosen and rejected are equal after truncation"));
    assertEquals(
        lines
            + ": expected at least one record, found none that is left: 3 rows read, 0 kept, 3 longer than 1 tokens left out",
        fault(
            () ->
                Preferences.read(
                    lines, null, null, two.withMaxLength(1).withOverlong(Overlong.FILTER))));
    Path queries = file("q.jsonl", "{\"query_ids\": [1, 2, 3]}");
    assertTrue(
        Queries.read(queries, null, null, two).notes().get(0).endsWith("cut to their last 2"));
  }

  @Test
  void toolsReachTheTemplate() throws IOException {
    ChatTemplate naming =
        new ChatTemplate(
            "{% for t in tools %}{{ t.function.name }};{% endfor %}{% for m in messages %}{{ m.role }}:{% if"
                + " m.tool_calls %}{{ m.tool_calls[0].function.arguments | tojson }}{% else %}{{"
                + " m.content }}{% endif %}/{% endfor %}{{ mood }}",
            tokenizer.specialTokens());
    String line =
        "{\"tools\": [{\"type\": \"function\", \"function\": {\"name\": \"f\"}}], \"messages\": [{\"role\":"
            + " \"assistant\", \"content\": null, \"tool_calls\": [{\"function\": {\"arguments\":"
            + " {\"x\": [1, 2.5, true]}}}]}, {\"role\": \"tool\", \"content\": \"ok\"}],"
            + " \"chat_template_kwargs\": {\"mood\": \"fine\"}}";
    assertEquals("|f;assistant:{\"x\": [1, 2.5, true]}/tool:ok/fine", sft(DEFAULTS, naming, line));
  }
}
