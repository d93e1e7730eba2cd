package org.rlhf4j.nn;

import java.nio.file.Path;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.rlhf4j.tensor.DType;

/**
 * Every architecture that GGUF has of the families here, against transformers; the files are made
 * by src/test/resources/families/gguf/generate.py, which checks that llama.cpp reads the same.
 */
class GgufFamiliesTest {
  private static ModelCase model(String architecture) {
    Path folder = Path.of("src/test/resources/families/gguf");
    return new ModelCase(folder.resolve(architecture + ".gguf"), folder.resolve(architecture));
  }

  @ParameterizedTest
  @ValueSource(strings = {"llama", "qwen2", "qwen3", "gemma3", "phi3", "gpt2"})
  void logits(String architecture) {
    ModelCase model = model(architecture);
    model.frozen(DType.F32, lm -> model.checkLogits(lm, null));
    model.frozen(DType.BF16, lm -> model.checkLogits(lm, null));
    model.trainable(DType.F32, lm -> model.checkLogits(lm, null));
  }

  @ParameterizedTest
  @ValueSource(strings = {"llama", "qwen2", "qwen3", "gemma3", "phi3", "gpt2"})
  void greedyContinuation(String architecture) {
    ModelCase model = model(architecture);
    model.frozen(DType.F32, lm -> model.checkGreedyContinuation(lm, null));
  }
}
