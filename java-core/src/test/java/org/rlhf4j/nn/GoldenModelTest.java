package org.rlhf4j.nn;

import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.rlhf4j.tensor.DType;
import org.rlhf4j.testing.Golden;

/** Whole models against transformers: logits, greedy continuations, the loss and its gradients. */
class GoldenModelTest {
  private static ModelCase model(String kind) {
    return new ModelCase(
        Golden.path("models/" + kind), Golden.path("models/" + kind).resolve("golden"));
  }

  @ParameterizedTest
  @ValueSource(strings = {"llama", "llama_tied", "mistral", "qwen2", "qwen3", "gpt2"})
  void logits(String kind) {
    model(kind).frozen(DType.F32, lm -> model(kind).checkLogits(lm, null));
    model(kind).trainable(DType.F32, lm -> model(kind).checkLogits(lm, null));
  }

  @ParameterizedTest
  @ValueSource(strings = {"llama", "llama_tied", "mistral", "qwen2", "qwen3", "gpt2"})
  void logitsInBf16(String kind) {
    model(kind).frozen(DType.BF16, lm -> model(kind).checkLogits(lm, null));
    model(kind).trainable(DType.BF16, lm -> model(kind).checkLogits(lm, null));
  }

  @ParameterizedTest
  @ValueSource(strings = {"llama", "llama_tied", "mistral", "qwen2", "qwen3", "gpt2"})
  void greedyContinuation(String kind) {
    model(kind).frozen(DType.F32, lm -> model(kind).checkGreedyContinuation(lm, null));
  }

  @ParameterizedTest
  @ValueSource(strings = {"llama", "llama_tied", "mistral", "qwen2", "qwen3", "gpt2"})
  void lossAndGradients(String kind) {
    model(kind).trainable(DType.F32, lm -> model(kind).checkLossAndGradients(lm, false));
  }

  @ParameterizedTest
  @ValueSource(strings = {"llama", "llama_tied", "qwen3", "gpt2"})
  void gradientsWithRecomputedActivations(String kind) {
    model(kind).trainable(DType.F32, lm -> model(kind).checkLossAndGradients(lm, true));
  }
}
