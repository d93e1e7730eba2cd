package org.rlhf4j.data;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.DriverManager;
import java.sql.SQLException;
import java.util.Arrays;
import java.util.List;
import java.util.OptionalDouble;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;
import org.junit.jupiter.api.io.TempDir;
import org.rlhf4j.InputException;
import org.rlhf4j.data.ReadOptions.AppendEos;
import org.rlhf4j.json.Json;
import org.rlhf4j.testing.Golden;
import org.rlhf4j.tokenizer.ChatTemplate;
import org.rlhf4j.tokenizer.Tokenizer;

class ReadersTest {
  private static final ReadOptions DEFAULTS = ReadOptions.defaults();

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

  private Demonstration sft(ReadOptions options, String line) throws IOException {
    return Demonstrations.read(file("sft.jsonl", line), tokenizer, template, options)
        .records()
        .get(0);
  }

  private String text(int[] ids) {
    return tokenizer.decode(ids, false);
  }

  private String fault(Executable read) {
    return assertThrows(InputException.class, read).getMessage();
  }

  @Test
  void promptAndCompletionEndWithEosAndKnowTheirBoundary() throws IOException {
    String line =
        "{\"prompt\": \"Tell me about tea.\", \"completion\": \" It is hot.\", \"source\":"
            + " \"ignored\"}";
    Demonstration d = sft(DEFAULTS, line);
    assertEquals("Tell me about tea. It is hot.<|end|>", text(d.ids()));
    assertEquals(tokenizer.encode("Tell me about tea.", true).length, d.promptLength());
    assertEquals(
        "Tell me about tea. It is hot.",
        text(sft(DEFAULTS.withAppendEos(AppendEos.NO), line).ids()));
    assertEquals(
        "x y<|end|>",
        text(sft(DEFAULTS, "{\"prompt\": \"x\", \"completion\": \" y<|end|>\"}").ids()),
        "EOS is not doubled");
  }

  @Test
  void conversationsAreRendered() throws IOException {
    Demonstration d =
        sft(
            DEFAULTS,
            "{\"messages\": [{\"role\": \"user\", \"content\": \"hi\"}, {\"role\": \"assistant\","
                + " \"content\": \"yo\"}]}");
    assertTrue(text(d.ids()).endsWith("<|im_start|>assistant\nyo<|im_end|>\n"), text(d.ids()));
    assertEquals(0, d.promptLength());
    Demonstration wrapped =
        sft(DEFAULTS.withUseChatTemplate(true), "{\"prompt\": \"hi\", \"completion\": \"yo\"}");
    assertArrayEquals(d.ids(), wrapped.ids());
    String learnt =
        text(Arrays.copyOfRange(wrapped.ids(), wrapped.promptLength(), wrapped.ids().length));
    assertEquals("yo<|im_end|>\n", learnt);
  }

  @Test
  void tokenisedDataIsTakenAsItIs() throws IOException {
    Demonstration d = sft(DEFAULTS, "{\"input_ids\": [5, 6, 7, 8], \"prompt_length\": 2}");
    assertArrayEquals(new int[] {5, 6, 7, 8}, d.ids());
    assertEquals(2, d.promptLength());
    Dataset<Demonstration> cut =
        Demonstrations.read(
            file(
                "x.jsonl",
                "{\"input_ids\": [5, 6, 7, 8], \"prompt_length\": 3}",
                "{\"input_ids\": [5, 6, 7, 8], \"prompt_length\": 1}"),
            null,
            null,
            DEFAULTS.withMaxLength(3).withVocabSize(512));
    assertEquals(1, cut.records().size(), "the first has nothing left to learn");
    assertEquals(2, cut.truncated());
    assertEquals(2, cut.records().get(0).line());
    assertTrue(
        fault(() -> sft(DEFAULTS, "{\"input_ids\": [5, 512]}"))
            .contains("sft.jsonl:1: 'input_ids'[1]: expected a token id of 0 to 511, found 512"));
    assertTrue(fault(() -> sft(DEFAULTS, "{\"input_ids\": [5, -1]}")).contains("found -1"));
    assertTrue(
        fault(() -> sft(DEFAULTS, "{\"input_ids\": [5, 1.5]}")).contains("found a number (1.5)"));
    assertTrue(
        fault(() -> sft(DEFAULTS, "{\"input_ids\": [5], \"prompt_length\": 1}"))
            .contains("prompt_length"));
  }

  @Test
  void preferencesInAllForms() throws IOException {
    Path lines =
        file(
            "p.jsonl",
            "{\"chosen_ids\": [1, 2, 3], \"rejected_ids\": [1, 2, 4], \"margin\": 0.5}",
            "{\"prompt_ids\": [9, 8], \"chosen_ids\": [1], \"rejected_ids\": [2]}",
            "{\"prompt\": \"q\", \"chosen\": \"same\", \"rejected\": \"same\"}",
            "{\"chosen\": [{\"role\": \"user\", \"content\": \"q\"}, {\"role\": \"assistant\","
                + " \"content\": \"a\"}], \"rejected\": [{\"role\": \"user\", \"content\": \"q\"},"
                + " {\"role\": \"assistant\", \"content\": \"b\"}]}");
    Dataset<Preference> read = Preferences.read(lines, tokenizer, template, DEFAULTS);
    assertEquals(0.5f, read.records().get(0).margin());
    assertEquals(0, read.records().get(0).promptLength());
    assertArrayEquals(new int[] {9, 8, 1}, read.records().get(1).chosenIds());
    assertArrayEquals(new int[] {9, 8, 2}, read.records().get(1).rejectedIds());
    assertEquals(2, read.records().get(1).promptLength());
    assertTrue(
        read.notes().toString().contains("1 records: chosen and rejected are equal"),
        read.notes().toString());
    Preference chat = read.records().get(3);
    assertTrue(
        text(Arrays.copyOf(chat.chosenIds(), chat.promptLength()))
            .endsWith("<|im_start|>assistant\n"));

    Dataset<Preference> cut =
        Preferences.read(lines, tokenizer, template, DEFAULTS.withMaxLength(2));
    assertTrue(cut.notes().toString().contains("equal after truncation"), cut.notes().toString());
  }

  @Test
  void queriesRolloutsAndTexts() throws IOException {
    Path queries = file("q.jsonl", "{\"query\": \"hello\"}");
    assertArrayEquals(
        tokenizer.encode("hello", true),
        Queries.read(queries, tokenizer, null, DEFAULTS).records().get(0).ids());
    String wrapped =
        text(
            Queries.read(queries, tokenizer, template, DEFAULTS.withUseChatTemplate(true))
                .records()
                .get(0)
                .ids());
    assertTrue(
        wrapped.endsWith("<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n"), wrapped);
    assertTrue(
        fault(() -> Queries.read(queries, tokenizer, null, DEFAULTS.withUseChatTemplate(true)))
            .contains("q.jsonl:1: "));

    Path rollouts =
        file(
            "r.jsonl",
            "{\"query_ids\": [1], \"response_ids\": [2, 3], \"score\": -1, \"kl\": 3}",
            "{\"query_ids\": [1], \"response_ids\": [2]}");
    List<RecordedRollout> recorded =
        RecordedRollouts.read(rollouts, DEFAULTS.withVocabSize(4)).records();
    assertEquals(OptionalDouble.of(-1), recorded.get(0).score());
    assertEquals(OptionalDouble.empty(), recorded.get(1).score());
    assertTrue(
        fault(() -> RecordedRollouts.read(rollouts, DEFAULTS.withVocabSize(3)))
            .contains("r.jsonl:1: 'response_ids'[1]"));

    Path texts =
        file(
            "t.jsonl",
            "{\"text\": \"hi\"}",
            "{\"messages\": [{\"role\": \"user\", \"content\": \"hi\"}]}",
            "{\"input_ids\": [3]}");
    List<Text> read =
        Texts.read(texts, tokenizer, template, DEFAULTS.withAddGenerationPrompt(true)).records();
    assertEquals("hi", read.get(0).text());
    assertTrue(read.get(1).text().endsWith("assistant\n"));
    assertArrayEquals(new int[] {3}, read.get(2).ids());
  }

  @Test
  void faultsSayWhatWasMeant() throws IOException {
    assertTrue(
        fault(() -> sft(DEFAULTS, "{\"promt\": \"x\", \"complete\": \"y\"}"))
            .contains("did you mean 'prompt' by 'promt'?"));
    assertTrue(
        fault(() -> sft(DEFAULTS, "{\"prompt\": \"x\", \"completon\": \"y\"}"))
            .contains("did you mean completon?"));
    assertTrue(fault(() -> sft(DEFAULTS, "{\"text\": \"\"}")).contains("empty string"));
    assertTrue(
        fault(() -> sft(DEFAULTS, "{\"text\": 3}"))
            .contains("expected a string, found a number (3)"));
    assertTrue(fault(() -> sft(DEFAULTS, "[1]")).contains("expected a JSON object, found a list"));
    assertTrue(
        fault(() -> sft(DEFAULTS, "{\"text\": \"a\"} {\"text\": \"b\"}"))
            .contains(":1: not valid JSON"));
    assertTrue(
        fault(() -> sft(DEFAULTS, "{\"text\": \"a\", \"text\": \"b\"}"))
            .contains(":1: not valid JSON"));
    assertTrue(
        fault(() -> sft(DEFAULTS, "{\"messages\": [{\"role\": \"user\"}]}"))
            .contains("'messages'[0]: 'content'"));
    assertTrue(fault(() -> sft(DEFAULTS, "")).contains("found none"));
    assertTrue(
        fault(() -> Queries.read(folder.resolve("none.jsonl"), tokenizer, null, DEFAULTS))
            .contains("no such data file"));
    String refused =
        "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}, {\"role\": \"system\","
            + " \"content\": \"b\"}]}";
    assertTrue(
        fault(() -> sft(DEFAULTS, refused)).contains("sft.jsonl:1: the chat template refuses"));
  }

  @Test
  void jsonArrays() throws IOException {
    Path good = file("a.json", "[{\"query\": \"one\"},", "{\"query\": \"two\"}]");
    assertEquals(2, Queries.read(good, tokenizer, null, DEFAULTS).records().size());
    Path wrong = file("b.json", "[{\"query\": \"one\"}, {\"query\": 2}, {\"query\": \"three\"}]");
    assertTrue(
        fault(() -> Queries.read(wrong, tokenizer, null, DEFAULTS))
            .contains("b.json: element 1: 'query'"));
    assertEquals(
        2, Queries.read(wrong, tokenizer, null, DEFAULTS.withSkipBadLines(true)).records().size());
    for (String text :
        new String[] {
          "{\"query\": \"one\"}",
          "[{\"query\": \"one\"}",
          "[{\"query\": \"one\"}] x",
          "[{\"query\": ]",
          "["
        }) {
      Path broken = file("c.json", text);
      String message =
          fault(() -> Queries.read(broken, tokenizer, null, DEFAULTS.withSkipBadLines(true)));
      assertTrue(message.contains("c.json"), message);
    }
  }

  @Test
  void csv() throws IOException {
    Path good = file("a.csv", "question,chosen,rejected", "q1,\"a, \"\"b\"\"\nc\",r1", "q2,a2,r2");
    List<Preference> read = Preferences.read(good, tokenizer, null, DEFAULTS).records();
    assertArrayEquals(tokenizer.encode("q1a, \"b\"\nc", true), read.get(0).chosenIds());
    assertEquals(2, read.size());
    Path tokens = file("b.csv", "input_ids,prompt_length", "\"[1, 2, 3]\",1");
    assertArrayEquals(
        new int[] {1, 2, 3},
        Demonstrations.read(tokens, tokenizer, null, DEFAULTS).records().get(0).ids());
    Path missing = file("c.csv", "question,chosen,rejected", "q1,a1,r1", "q2,,r2");
    assertTrue(
        fault(() -> Preferences.read(missing, tokenizer, null, DEFAULTS))
            .contains("c.csv: row 2: 'chosen' is missing"));
  }

  @Test
  void parquet() throws SQLException {
    Path file = folder.resolve("a.parquet");
    try (var connection = DriverManager.getConnection("jdbc:duckdb:");
        var statement = connection.createStatement()) {
      statement.execute(
          "COPY (SELECT [{'role': 'user', 'content': 'hi'}] AS messages, [1, 2, 3]::BIGINT[] AS"
              + " query_ids, 1.5::FLOAT AS score, [4]::INT[] AS response_ids) TO '"
              + file
              + "' (FORMAT parquet)");
    }
    RecordedRollout rollout = RecordedRollouts.read(file, DEFAULTS).records().get(0);
    assertArrayEquals(new int[] {1, 2, 3}, rollout.queryIds());
    assertArrayEquals(new int[] {4}, rollout.responseIds());
    assertEquals(OptionalDouble.of(1.5), rollout.score());
    assertTrue(
        Texts.read(file, tokenizer, template, DEFAULTS)
            .records()
            .get(0)
            .text()
            .contains("<|im_start|>user\nhi"));
    assertTrue(
        fault(
                () ->
                    RecordedRollouts.read(
                        Files.writeString(folder.resolve("bad.parquet"), "no"), DEFAULTS))
            .contains("not readable as Parquet"));
  }

  @Test
  void idsFile() throws IOException {
    List<int[]> read = TokenIds.read(file("i.json", "{\"input_ids\": [[1, 2], [3]]}"), 4);
    assertArrayEquals(new int[] {3}, read.get(1));
    for (String text :
        new String[] {
          "{}",
          "{\"input_ids\": []}",
          "{\"input_ids\": [[]]}",
          "{\"input_ids\": [[1], [4]]}",
          "{\"input_ids\": [1]}",
          "[[1]]",
          "{"
        }) {
      Path bad = file("j.json", text);
      assertTrue(fault(() -> TokenIds.read(bad, 4)).contains("j.json"));
    }
  }
}
