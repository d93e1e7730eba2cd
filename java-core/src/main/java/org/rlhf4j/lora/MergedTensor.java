package org.rlhf4j.lora;

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
    int r = a.length / in;
    return (first, count, into, offset) -> {
      w.read(first, count, into, offset);
      for (int i = 0; i < count; i++) {
        int row = (int) ((first + i) / in);
        int column = (int) ((first + i) % in);
        float sum = 0;
        for (int k = 0; k < r; k++) {
          sum += b[row * r + k] * a[k * in + column];
        }
        into[offset + i] += scale * sum;
      }
    };
  }
}
