package org.rlhf4j.testing;

import com.fasterxml.jackson.databind.JsonNode;
import java.net.URISyntaxException;
import java.nio.file.Path;
import org.rlhf4j.json.Json;

/** A tiny Llama in bf16 and as transformers quantises and saves it: see nf4/generate.py. */
public final class Nf4Models {
  private Nf4Models() {}

  /** The model of that kind: {@code bf16}, {@code nf4} or {@code nf4-double}. */
  public static Path path(String kind) {
    try {
      return Path.of(Nf4Models.class.getResource("/nf4/" + kind).toURI());
    } catch (URISyntaxException e) {
      throw new IllegalStateException(e);
    }
  }

  /** {@code input_ids}, and transformers' {@code logits} for each quantised kind. */
  public static JsonNode golden() {
    return Json.readObject(path("golden.json"));
  }
}
