package org.rlhf4j.tokenizer;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import com.fasterxml.jackson.core.StreamReadConstraints;
import java.io.IOException;
import java.util.HashMap;
import java.util.Map;

/**
 * Token texts and ids out of a tokenizer.json, which the native library does not give. Read as a
 * stream: a tokenizer may have a quarter of a million merges, which are skipped.
 */
final class Vocabulary {
  /** Field names here are tokens: a cache of interned names would only grow. */
  private static final JsonFactory FACTORY =
      JsonFactory.builder()
          .disable(JsonFactory.Feature.INTERN_FIELD_NAMES)
          .disable(JsonFactory.Feature.CANONICALIZE_FIELD_NAMES)
          .streamReadConstraints(
              StreamReadConstraints.builder().maxStringLength(Integer.MAX_VALUE).build())
          .build();

  private final Map<String, Integer> ids = new HashMap<>();
  private int size;

  private Vocabulary() {}

  /**
   * Throws IOException (Jackson's) when the text is not JSON.
   *
   * @param addedOnly stop after the added tokens, which stand in front of the large vocabulary and
   *     hold BOS, EOS and so on
   */
  static Vocabulary parse(String tokenizerJson, boolean addedOnly) throws IOException {
    Vocabulary vocabulary = new Vocabulary();
    try (JsonParser parser = FACTORY.createParser(tokenizerJson)) {
      parser.nextToken();
      while (parser.nextToken() == JsonToken.FIELD_NAME) {
        String field = parser.currentName();
        parser.nextToken();
        switch (field) {
          case "added_tokens" -> {
            vocabulary.addedTokens(parser);
            if (addedOnly) {
              return vocabulary;
            }
          }
          case "model" -> vocabulary.model(parser);
          default -> parser.skipChildren();
        }
      }
    }
    return vocabulary;
  }

  private void addedTokens(JsonParser parser) throws IOException {
    while (parser.nextToken() == JsonToken.START_OBJECT) {
      String content = null;
      int id = -1;
      while (parser.nextToken() == JsonToken.FIELD_NAME) {
        String field = parser.currentName();
        parser.nextToken();
        switch (field) {
          case "content" -> content = parser.getText();
          case "id" -> id = parser.getIntValue();
          default -> parser.skipChildren();
        }
      }
      put(content, id);
    }
  }

  private void model(JsonParser parser) throws IOException {
    while (parser.nextToken() == JsonToken.FIELD_NAME) {
      String field = parser.currentName();
      JsonToken value = parser.nextToken();
      if (field.equals("vocab") && value == JsonToken.START_OBJECT) {
        while (parser.nextToken() == JsonToken.FIELD_NAME) {
          String token = parser.currentName();
          parser.nextToken();
          put(token, parser.getIntValue());
        }
      } else if (field.equals("vocab") && value == JsonToken.START_ARRAY) {
        // Unigram: [token, score] pairs; the position is the id.
        for (int id = 0; parser.nextToken() == JsonToken.START_ARRAY; id++) {
          put(parser.nextTextValue(), id);
          while (parser.nextToken() != JsonToken.END_ARRAY) {
            parser.skipChildren();
          }
        }
      } else {
        parser.skipChildren();
      }
    }
  }

  private void put(String token, int id) {
    if (token != null && id >= 0) {
      ids.put(token, id);
      size = Math.max(size, id + 1);
    }
  }

  Integer id(String token) {
    return ids.get(token);
  }

  /** The largest id, plus one. */
  int size() {
    return size;
  }
}
