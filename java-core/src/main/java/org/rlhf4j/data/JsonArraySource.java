package org.rlhf4j.data;

import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.JsonToken;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectReader;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.PushbackReader;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import org.rlhf4j.InputException;
import org.rlhf4j.json.Json;

/**
 * A JSON array of objects. Messages name the element, counted from 0; a fault in the JSON itself,
 * its line.
 */
final class JsonArraySource implements RowSource {
  /** What follows an element is the next one, no mistake. */
  private static final ObjectReader ELEMENT =
      Json.MAPPER.reader().without(DeserializationFeature.FAIL_ON_TRAILING_TOKENS);

  private final Path file;
  private final JsonParser parser;
  private long element;
  private boolean broken;

  /**
   * @param in the file's text; closed with this
   */
  JsonArraySource(Path file, InputStream in) throws IOException {
    this.file = file;
    PushbackReader text =
        new PushbackReader(new InputStreamReader(in, StandardCharsets.UTF_8.newDecoder()));
    this.parser = Json.MAPPER.createParser(text);
    try {
      int first = text.read();
      if (first >= 0 && first != '\uFEFF') {
        text.unread(first);
      }
      if (parser.nextToken() != JsonToken.START_ARRAY) {
        throw InputException.at(
            file,
            "expected a JSON array of objects (for one object to a line, name the file .jsonl)");
      }
    } catch (JsonProcessingException e) {
      throw invalid(e);
    } catch (CharacterCodingException e) {
      throw notUtf8();
    }
  }

  @Override
  public Row next() throws IOException {
    if (broken) {
      return null;
    }
    JsonNode node;
    try {
      JsonToken token = parser.nextToken();
      if (token == JsonToken.END_ARRAY) {
        if (parser.nextToken() != null) {
          broken = true;
          throw InputException.at(
              file, parser.currentLocation().getLineNr(), "expected nothing behind the array");
        }
        return null;
      }
      node = ELEMENT.readTree(parser);
    } catch (JsonProcessingException e) {
      broken = true;
      throw invalid(e);
    } catch (CharacterCodingException e) {
      broken = true;
      throw notUtf8();
    }
    return new Row(file, "element", element++, node);
  }

  private InputException notUtf8() {
    return InputException.at(
        file, "element " + element + ": not UTF-8 text, expected JSON in UTF-8");
  }

  private InputException invalid(JsonProcessingException e) {
    long line = e.getLocation() == null ? 1 : e.getLocation().getLineNr();
    return InputException.at(
        file, line, "not valid JSON in element " + element + ": " + e.getOriginalMessage());
  }

  @Override
  public boolean broken() {
    return broken;
  }

  @Override
  public void close() throws IOException {
    parser.close();
  }
}
