package org.rlhf4j.nn;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;
import org.rlhf4j.checkpoint.FloatType;
import org.rlhf4j.checkpoint.ModelFiles;
import org.rlhf4j.checkpoint.Nf4Tensor;
import org.rlhf4j.checkpoint.Quantization;
import org.rlhf4j.checkpoint.StoredTensor;
import org.rlhf4j.nn.families.Families;
import org.rlhf4j.tensor.DType;
import org.rlhf4j.tensor.Device;
import org.rlhf4j.testing.Golden;
import org.rlhf4j.testing.Nf4Models;
import org.rlhf4j.testing.TestDevice;

/** Quantising while a checkpoint streams in. */
class Nf4LoadingTest {
  /** Loading needs memory for the quantised model and one tensor more. */
  @ParameterizedTest
  @EnumSource(
      value = Quantization.class,
      names = {"NF4", "NF4_DOUBLE"})
  void oneTensorMoreThanTheModel(Quantization quantization) {
    try (ModelFiles files = ModelFiles.open(Golden.path("models/llama"))) {
      ModelConfig config = Families.config(files.config(), "golden");
      long largest =
          files.tensors().values().stream().mapToLong(StoredTensor::elements).max().orElseThrow();
      // q, k and v, or gate and up, wait in four bits until they are joined.
      long joined = 2L * config.intermediateSize() * config.hiddenSize();
      Device.Memory loaded = load(files, config, quantization);
      assertTrue(
          loaded.peak() - loaded.inUse() <= 4 * largest + joined,
          () -> loaded + " with a largest tensor of " + 4 * largest);
      Device.Memory plain = load(files, config, Quantization.NONE);
      long matrices = CausalLm.modules(config).stream().mapToLong(m -> m.in() * m.out()).sum();
      // 4 bytes for each number become little more than half of one.
      assertTrue(plain.inUse() - loaded.inUse() > 3 * matrices, plain + " and " + loaded);
    }
  }

  private static Device.Memory load(
      ModelFiles files, ModelConfig config, Quantization quantization) {
    try (Device device = TestDevice.open();
        CausalLm lm = CausalLm.frozen(device, config, DType.F32, quantization, files::tensor)) {
      return lm.device().memory();
    }
  }

  /** What the device quantises for a file is what transformers' file has. */
  @ParameterizedTest
  @CsvSource({"nf4, false", "nf4-double, true"})
  void quantisesAsTransformersDoes(String kind, boolean nested) {
    try (ModelFiles plain = ModelFiles.open(Nf4Models.path("bf16"));
        ModelFiles quantised = ModelFiles.open(Nf4Models.path(kind));
        Device device = TestDevice.open()) {
      int matrices = 0;
      for (StoredTensor t : quantised.tensors().values()) {
        if (t instanceof Nf4Tensor want) {
          Nf4Tensor got =
              Nf4Matrices.quantise(
                  device, t.name(), t.shape(), plain.tensor(t.name()), FloatType.BF16, nested);
          assertEquals(-1, want.codes().mismatch(got.codes()), t.name());
          assertEquals(-1, want.scales().bytes().mismatch(got.scales().bytes()), t.name());
          assertEquals(want.original(), got.original());
          assertArrayEquals(want.shape(), got.shape());
          matrices++;
        }
      }
      assertEquals(7, matrices);
    }
  }
}
