package org.rlhf4j.nn.families;

import java.util.Map;

/** Why kinds of models that one might expect to load do not. */
final class Refused {
  private static final Map<String, String> REASONS =
      Map.of(
          "gemma2", "it caps attention scores and logits with tanh, which no kernel here does",
          "gemma3", "images and text; its text-only form has model_type gemma3_text",
          "mixtral", "a mixture of experts",
          "qwen2_moe", "a mixture of experts",
          "qwen3_moe", "a mixture of experts",
          "phimoe", "a mixture of experts",
          "phi", "it runs attention and MLP side by side; phi3 is supported");

  private Refused() {}

  /** Null when there is nothing to say. */
  static String reason(String modelType) {
    return REASONS.get(modelType);
  }
}
