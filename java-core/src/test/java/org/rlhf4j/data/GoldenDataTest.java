package org.rlhf4j.data;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.file.Path;
import java.util.Arrays;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.rlhf4j.InputException;
import org.rlhf4j.testing.Golden;
import org.rlhf4j.tokenizer.Tokenizer;

/** The golden data files behave as their README says. */
class GoldenDataTest {
  private static Tokenizer tokenizer;

  @BeforeAll
  static void open() {
    tokenizer = Tokenizer.open(Golden.path("models/llama"));
  }

  @AfterAll
  static void close() {
    if (tokenizer != null) {
      tokenizer.close();
    }
  }

  private static Dataset<Preference> preferences(String name, ReadOptions options) {
    return Preferences.read(Golden.path("data/" + name), tokenizer, null, options);
  }

  @Test
  void goodFilesLoad() {
    Dataset<Preference> all = preferences("preference.jsonl", ReadOptions.defaults());
    assertEquals(200, all.records().size());
    assertEquals(
        100,
        Queries.read(Golden.path("data/queries.jsonl"), tokenizer, null, ReadOptions.defaults())
            .records()
            .size());
    for (String variant :
        new String[] {
          "preference.crlf.jsonl", "preference.bom.jsonl", "preference.blank-lines.jsonl"
        }) {
      Dataset<Preference> same = preferences(variant, ReadOptions.defaults());
      assertTrue(same.records().size() >= 5, variant);
      for (int i = 0; i < same.records().size(); i++) {
        assertArrayEquals(
            all.records().get(i).chosenIds(), same.records().get(i).chosenIds(), variant);
        assertArrayEquals(
            all.records().get(i).rejectedIds(), same.records().get(i).rejectedIds(), variant);
      }
    }
    Preference first = all.records().get(1);
    String question = "Tell me about bicycles in 2 words.";
    assertArrayEquals(
        tokenizer.encode(
            question + "Thank you for asking. Bicycles matter to many people, and here is why.",
            true),
        first.chosenIds());
    assertEquals(2, first.line());
    assertTrue(first.promptLength() > 0);
  }

  @Test
  void aLineMayBeVeryLong() {
    Path file = Golden.path("data/long-line.jsonl");
    Dataset<Query> all = Queries.read(file, tokenizer, null, ReadOptions.defaults());
    assertEquals(1, all.records().size());
    int[] whole = all.records().get(0).ids();
    assertTrue(whole.length > 100_000, () -> "found " + whole.length);
    Dataset<Query> cut =
        Queries.read(file, tokenizer, null, ReadOptions.defaults().withMaxLength(64));
    assertEquals(1, cut.truncated());
    int[] end = cut.records().get(0).ids();
    assertArrayEquals(Arrays.copyOfRange(whole, whole.length - 64, whole.length), end);
  }

  @Test
  void badFilesAreRefusedWithTheLine() {
    refused("bad.line-3.jsonl", ":3: not valid JSON");
    refused("bad.missing-key-line-2.jsonl", ":2: 'rejected' is missing");
    refused("bad.not-utf8-line-2.jsonl", ":2: not UTF-8");
    refused("bad.wrong-type-line-1.jsonl", ":1: ");
    refused("bad.empty.jsonl", "empty file");
  }

  private static void refused(String name, String expected) {
    InputException e =
        assertThrows(InputException.class, () -> preferences(name, ReadOptions.defaults()));
    assertTrue(e.getMessage().startsWith(Golden.path("data/" + name).toString()), e.getMessage());
    assertTrue(e.getMessage().contains(expected), e.getMessage());
  }

  @Test
  void badLinesCanBeSkipped() {
    Dataset<Preference> rest =
        preferences("bad.line-3.jsonl", ReadOptions.defaults().withSkipBadLines(true));
    assertEquals(1, rest.skipped());
    assertTrue(rest.records().size() >= 3);
    assertTrue(rest.notes().get(1).contains(":3: "), rest.notes().toString());
    // Where nothing is left, there is nothing to go on with.
    assertThrows(
        InputException.class,
        () ->
            preferences(
                "bad.wrong-type-line-1.jsonl", ReadOptions.defaults().withSkipBadLines(true)));
  }
}
