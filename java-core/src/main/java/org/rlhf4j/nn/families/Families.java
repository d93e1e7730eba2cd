package org.rlhf4j.nn.families;

import com.fasterxml.jackson.databind.JsonNode;
import java.util.List;
import org.rlhf4j.InputException;
import org.rlhf4j.nn.ModelConfig;

/** The families of models that are supported: the one list that a new one is added to. */
public final class Families {
  private static final List<Family> ALL =
      List.of(
          new Llama(),
          new Mistral(),
          new Qwen2(),
          new Qwen3(),
          new Gemma3(),
          new Phi3(),
          new Gpt2());

  private Families() {}

  /** The values of "model_type" that load. */
  public static List<String> supported() {
    return ALL.stream().flatMap(f -> f.modelTypes().stream()).sorted().toList();
  }

  /**
   * The decoder that a config.json describes.
   *
   * @param where names the file in messages
   * @throws InputException if the family is not supported, a key is missing, or a key asks for what
   *     is not supported
   */
  public static ModelConfig config(JsonNode json, String where) {
    String type = json.path("model_type").asText("");
    for (Family family : ALL) {
      if (family.modelTypes().contains(type)) {
        return family.read(new ConfigJson(json, where));
      }
    }
    String reason = Refused.reason(type);
    throw new InputException(
        where
            + ": model_type '"
            + type
            + "' is not supported"
            + (reason == null ? "" : " (" + reason + ")")
            + "; expected one of "
            + supported());
  }
}
