package org.rlhf4j.lora;

import java.util.stream.IntStream;
import org.rlhf4j.checkpoint.FloatSource;
import org.rlhf4j.checkpoint.StoredTensor;

/** W + scale · B A, computed in f32 as it is read. */
public final class MergedTensor {
  private MergedTensor() {}

  /**
   * @param w the base's matrix [out, in]
   * @param module the layer's name in {@code adapter}
   */
  public static FloatSource of(StoredTensor w, LoraAdapter adapter, String module) {
    float[] a = adapter.a(module).value().toFloats(); // [r, in]
    float[] b = adapter.b(module).value().toFloats(); // [out, r]
    float scale = adapter.config().scaleOf(module);
    int in = (int) w.shape()[1];
    return (first, count, into, offset) -> {
      w.read(first, count, into, offset);
      int firstRow = (int) (first / in);
      int lastRow = (int) ((first + count - 1) / in);
      IntStream.rangeClosed(firstRow, lastRow)
          .parallel()
          .forEach(
              row -> {
                long start = (long) row * in;
                int from = (int) Math.max(first - start, 0);
                int to = (int) Math.min(first + count - start, in);
                addRow(b, row, a, in, scale, from, to, into, (int) (offset + start - first));
              });
    };
  }

  /**
   * Adds columns [from, to) of row {@code row} to {@code into[at + column]}. The columns are
   * innermost, so that the loop vectorises; the sum over r comes before the scale, as in PEFT.
   */
  private static void addRow(
      float[] b, int row, float[] a, int in, float scale, int from, int to, float[] into, int at) {
    int r = a.length / in;
    float[] sum = new float[to - from];
    for (int k = 0; k < r; k++) {
      float factor = b[row * r + k];
      int aRow = k * in + from;
      for (int c = 0; c < sum.length; c++) {
        sum[c] += factor * a[aRow + c];
      }
    }
    for (int c = 0; c < sum.length; c++) {
      into[at + from + c] += scale * sum[c];
    }
  }
}
