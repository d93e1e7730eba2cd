package org.rlhf4j.lora;

import java.util.stream.IntStream;
import org.rlhf4j.checkpoint.ConvertedTensor;
import org.rlhf4j.checkpoint.FloatSource;
import org.rlhf4j.checkpoint.StoredTensor;
import org.rlhf4j.tensor.Tensor;

/** W + scale · B A, computed in f32 as it is read. */
public final class MergedTensor {
  private MergedTensor() {}

  /**
   * @param w the base's matrix, [out, in], or [in, out] where the module's is stored so
   * @param module the layer's name in {@code adapter}
   */
  public static FloatSource of(StoredTensor w, LoraAdapter adapter, String module) {
    Tensor a = adapter.a(module).value(); // [r, in]
    Tensor b = adapter.b(module).value(); // [out, r]
    float scale = adapter.config().scaleOf(module);
    boolean transposed = adapter.modules().get(module).fanInFanOut();
    // Stored as [in, out], the matrix gets (B A)ᵀ = Aᵀ Bᵀ.
    float[] left = transposed ? ConvertedTensor.transpose(a.toFloats(), a.shape()) : b.toFloats();
    float[] right = transposed ? ConvertedTensor.transpose(b.toFloats(), b.shape()) : a.toFloats();
    int columns = (int) w.shape()[1];
    return (first, count, into, offset) -> {
      w.read(first, count, into, offset);
      int firstRow = (int) (first / columns);
      int lastRow = (int) ((first + count - 1) / columns);
      IntStream.rangeClosed(firstRow, lastRow)
          .parallel()
          .forEach(
              row -> {
                long start = (long) row * columns;
                int from = (int) Math.max(first - start, 0);
                int to = (int) Math.min(first + count - start, columns);
                int at = (int) (offset + start - first);
                addRow(left, row, right, columns, scale, from, to, into, at);
              });
    };
  }

  /**
   * Adds columns [from, to) of row {@code row} of scale · left · right to {@code into[at +
   * column]}. The columns are innermost, so that the loop vectorises; the sum over r comes before
   * the scale, as in PEFT.
   */
  private static void addRow(
      float[] left,
      int row,
      float[] right,
      int columns,
      float scale,
      int from,
      int to,
      float[] into,
      int at) {
    int r = right.length / columns;
    float[] sum = new float[to - from];
    for (int k = 0; k < r; k++) {
      float factor = left[row * r + k];
      int start = k * columns + from;
      for (int c = 0; c < sum.length; c++) {
        sum[c] += factor * right[start + c];
      }
    }
    for (int c = 0; c < sum.length; c++) {
      into[at + from + c] += scale * sum[c];
    }
  }
}
