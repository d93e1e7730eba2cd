package org.rlhf4j.tokenizer;

import com.fasterxml.jackson.databind.JsonNode;
import java.nio.file.Files;
import java.nio.file.Path;
import org.rlhf4j.InputException;
import org.rlhf4j.json.Json;

/** The texts of the tokens with a role; null where there is none. */
public record SpecialTokens(String bos, String eos, String pad, String unk) {
  public static final SpecialTokens NONE = new SpecialTokens(null, null, null, null);

  /**
   * As tokenizer_config.json names them ({@code bos_token} and so on: a string, an object with
   * {@code content}, or null); what it leaves out is taken from special_tokens_map.json, if there
   * is one.
   */
  static SpecialTokens read(Path folder) {
    Path configFile = folder.resolve("tokenizer_config.json");
    Path mapFile = folder.resolve("special_tokens_map.json");
    JsonNode config = Files.isRegularFile(configFile) ? Json.readObject(configFile) : null;
    JsonNode map = Files.isRegularFile(mapFile) ? Json.readObject(mapFile) : null;
    String[] found = new String[4];
    String[] keys = {"bos_token", "eos_token", "pad_token", "unk_token"};
    for (int i = 0; i < keys.length; i++) {
      if (config != null && config.has(keys[i])) {
        found[i] = text(configFile, keys[i], config.get(keys[i]));
      } else if (map != null && map.has(keys[i])) {
        found[i] = text(mapFile, keys[i], map.get(keys[i]));
      }
    }
    return new SpecialTokens(found[0], found[1], found[2], found[3]);
  }

  private static String text(Path file, String key, JsonNode node) {
    JsonNode content = node.isObject() ? node.path("content") : node;
    if (content.isNull()) {
      return null;
    }
    if (!content.isTextual()) {
      throw InputException.at(
          file,
          "'" + key + "': expected a string or an object with 'content', found " + Json.kind(node));
    }
    return content.textValue();
  }
}
