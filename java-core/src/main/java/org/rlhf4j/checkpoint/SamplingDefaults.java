package org.rlhf4j.checkpoint;

import com.fasterxml.jackson.databind.JsonNode;
import java.nio.file.Path;
import org.rlhf4j.InputException;
import org.rlhf4j.json.Json;

/**
 * How a model's makers sample from it, as generation_config.json says; null where it does not.
 * These are for {@code generate} alone: a policy is trained on its whole distribution.
 *
 * @param doSample false: the likeliest token at each step
 * @param temperature more than 0
 * @param topK 0: all
 * @param topP more than 0, at most 1
 * @param repetitionPenalty read so that it can be said that it is not applied
 */
public record SamplingDefaults(
    Boolean doSample, Double temperature, Integer topK, Double topP, Double repetitionPenalty) {

  static SamplingDefaults from(JsonNode config, Path path) {
    JsonNode sample = present(config, "do_sample");
    JsonNode topK = present(config, "top_k");
    if (sample != null && !sample.isBoolean()) {
      throw wrong(path, "do_sample", "true or false", sample);
    }
    if (topK != null && (!topK.isInt() || topK.intValue() < 0)) {
      throw wrong(path, "top_k", "a whole number of 0 or more", topK);
    }
    Double temperature = number(config, path, "temperature");
    Double topP = number(config, path, "top_p");
    if (temperature != null && temperature < 0) {
      throw wrong(path, "temperature", "a number of 0 or more", config.get("temperature"));
    }
    if (topP != null && !(topP > 0 && topP <= 1)) {
      throw wrong(path, "top_p", "a number of more than 0, at most 1", config.get("top_p"));
    }
    return new SamplingDefaults(
        sample == null ? null : sample.booleanValue(),
        temperature,
        topK == null ? null : topK.intValue(),
        topP,
        number(config, path, "repetition_penalty"));
  }

  private static JsonNode present(JsonNode config, String key) {
    return config.hasNonNull(key) ? config.get(key) : null;
  }

  private static Double number(JsonNode config, Path path, String key) {
    JsonNode value = present(config, key);
    if (value != null && !value.isNumber()) {
      throw wrong(path, key, "a number", value);
    }
    return value == null ? null : value.doubleValue();
  }

  private static InputException wrong(Path path, String key, String expected, JsonNode found) {
    return InputException.at(
        path,
        "generation_config.json: '"
            + key
            + "': expected "
            + expected
            + ", found "
            + Json.kind(found));
  }
}
