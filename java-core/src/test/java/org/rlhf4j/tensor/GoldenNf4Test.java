package org.rlhf4j.tensor;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.lang.foreign.ValueLayout;
import java.util.List;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.rlhf4j.checkpoint.SafetensorsFile;
import org.rlhf4j.testing.Golden;
import org.rlhf4j.testing.TestDevice;

/** NF4 against what bitsandbytes itself made of the same matrices. */
class GoldenNf4Test {
  private final Device device = TestDevice.open();
  private final Scope scope = device.scope();
  private final SafetensorsFile golden = Golden.tensors("nf4.safetensors");

  @AfterEach
  void close() {
    device.close();
    golden.close();
  }

  private static byte[] bytes(SafetensorsFile file, String name) {
    return file.tensor(name).bytes().toArray(ValueLayout.JAVA_BYTE);
  }

  private Tensor tensor(String name) {
    long[] shape = golden.tensor(name).shape();
    return scope.allocate(DType.F32, shape).copyFrom(Golden.floats(golden, name));
  }

  @Test
  void nestedCode() {
    assertArrayEquals(Golden.floats(golden, "0/double.nested_code"), Nf4.dynamicCode());
  }

  @ParameterizedTest
  @ValueSource(ints = {0, 1, 2})
  void single(int i) {
    Tensor w = tensor(i + "/w");
    Nf4 y = Nf4.allocate(scope, w.size(0), w.size(1), false);
    Kernels.nf4Quantize(y, w);
    assertFalse(y.isDouble());
    assertArrayEquals(bytes(golden, i + "/single.packed"), y.codes().toBytes());
    assertArrayEquals(Golden.floats(golden, i + "/single.absmax"), y.absmax().toFloats());
    assertDequantized(i, y, "single");
  }

  @ParameterizedTest
  @ValueSource(ints = {0, 1, 2})
  void doubleQuantised(int i) {
    Tensor w = tensor(i + "/w");
    Nf4 y = Nf4.allocate(scope, w.size(0), w.size(1), true);
    Kernels.nf4Quantize(y, w);
    assertTrue(y.isDouble());
    String name = i + "/double.";
    assertArrayEquals(bytes(golden, name + "packed"), y.codes().toBytes());
    assertArrayEquals(bytes(golden, name + "absmax"), y.absmax().toBytes());
    // The mean of the absmax: sums in another order, so within a few units in the last place.
    float offset = Golden.floats(golden, name + "offset")[0];
    assertEquals(offset, y.offset().item(), 4 * Math.ulp(offset));
    float[] nested = Golden.floats(golden, name + "nested_absmax");
    assertArrayEquals(nested, y.nestedAbsmax().toFloats(), 4 * Math.ulp(offset));
    assertDequantized(i, y, "double");
    long tables = 256 * 4 + nested.length * 4L + 4;
    assertEquals(w.elements() / 2 + y.absmax().elements() + tables, y.bytes());
  }

  /** A weight of the golden tensors themselves is the dequantised matrix: its product with 1 is. */
  @ParameterizedTest
  @ValueSource(ints = {0, 1, 2})
  void weight(int i) {
    Tensor w = tensor(i + "/w");
    long rows = w.size(0);
    long cols = w.size(1);
    Nf4 stored = Nf4.allocate(scope, rows, cols, true);
    String name = i + "/double.";
    copy(stored.codes(), name + "packed");
    copy(stored.absmax(), name + "absmax");
    copy(stored.nestedCode(), name + "nested_code");
    copy(stored.nestedAbsmax(), name + "nested_absmax");
    copy(stored.offset(), name + "offset");
    float[] values = dequantized(stored);
    float[] identity = new float[(int) (cols * cols)];
    for (int j = 0; j < cols; j++) {
      identity[(int) (j * cols + j)] = 1;
    }
    Tensor x = scope.allocate(DType.F32, cols, cols).copyFrom(identity);
    Tensor y = scope.allocate(DType.F32, cols, 2 * rows);
    try (Weight weight = Weight.packNf4(List.of(stored, stored), DType.F32)) {
      assertEquals(2 * rows, weight.out());
      assertEquals(cols, weight.in());
      Kernels.linear(y, x, weight, null, false);
    }
    float[] transposed = y.toFloats();
    for (int r = 0; r < 2 * rows; r++) {
      for (int c = 0; c < cols; c++) {
        float want = values[(int) (r % rows * cols + c)];
        assertEquals(want, transposed[(int) (c * 2 * rows + r)], Math.ulp(want));
      }
    }
  }

  private void copy(Tensor tensor, String name) {
    tensor.copyFrom(golden.tensor(name).bytes());
  }

  private float[] dequantized(Nf4 x) {
    Tensor w = scope.allocate(DType.F32, x.rows(), x.cols());
    Kernels.nf4Dequantize(w, x);
    return w.toFloats();
  }

  private void assertDequantized(int i, Nf4 y, String kind) {
    float[] want = Golden.floats(golden, i + "/" + kind + ".dequantized");
    float[] got = dequantized(y);
    if (y.cols() % Nf4.BLOCK != 0) {
      want = inBlocksOfTheFlattenedMatrix(i, y, kind, want);
    }
    for (int j = 0; j < want.length; j++) {
      assertEquals(want[j], got[j], 4 * Math.ulp(want[j]), "element " + j);
    }
  }

  /**
   * Where a block crosses rows, bitsandbytes' dequantisation with AVX-512 (0.50.2) takes for
   * element (row, column) the absmax number row * (cols / 64) + column / 64, not that of the block
   * it quantised with. What it gave must be explained by that alone; the right values are code
   * times the block's own absmax.
   */
  private float[] inBlocksOfTheFlattenedMatrix(int i, Nf4 y, String kind, float[] given) {
    byte[] codes = bytes(golden, i + "/" + kind + ".packed");
    float[] code = Golden.floats(golden, "code");
    float[] absmax = absmax(i, kind);
    float[] right = new float[given.length];
    int cols = (int) y.cols();
    for (int j = 0; j < given.length; j++) {
      float value = code[j % 2 == 0 ? codes[j / 2] >> 4 & 15 : codes[j / 2] & 15];
      float taken = value * absmax[j / cols * (cols / Nf4.BLOCK) + j % cols / Nf4.BLOCK];
      assertEquals(given[j], taken, 4 * Math.ulp(taken));
      right[j] = value * absmax[j / Nf4.BLOCK];
    }
    return right;
  }

  private float[] absmax(int i, String kind) {
    if (kind.equals("single")) {
      return Golden.floats(golden, i + "/single.absmax");
    }
    byte[] stored = bytes(golden, i + "/double.absmax");
    float[] code = Golden.floats(golden, i + "/double.nested_code");
    float[] nested = Golden.floats(golden, i + "/double.nested_absmax");
    float offset = Golden.floats(golden, i + "/double.offset")[0];
    float[] absmax = new float[stored.length];
    for (int b = 0; b < absmax.length; b++) {
      absmax[b] = code[stored[b] & 0xff] * nested[b / Nf4.NESTED_BLOCK] + offset;
    }
    return absmax;
  }
}
