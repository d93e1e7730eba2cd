package org.rlhf4j.lora;

import org.rlhf4j.checkpoint.FloatSource;
import org.rlhf4j.checkpoint.StoredTensor;

/** W + scale · B A, computed in f32 as it is read. */
public final class MergedTensor {
  private MergedTensor() {}

  /**
   * @param w the base's matrix, [out, in], or [in, out] where the module's is stored so
   * @param module the layer's name in {@code adapter}
   */
  public static FloatSource of(StoredTensor w, LoraAdapter adapter, String module) {
    float[] a = adapter.a(module).value().toFloats(); // [r, in]
    float[] b = adapter.b(module).value().toFloats(); // [out, r]
    float scale = adapter.config().scaleOf(module);
    boolean fanInFanOut = adapter.modules().get(module).fanInFanOut();
    int columns = (int) w.shape()[1];
    int in = fanInFanOut ? (int) w.shape()[0] : columns;
    int r = a.length / in;
    return (first, count, into, offset) -> {
      w.read(first, count, into, offset);
      for (int i = 0; i < count; i++) {
        int row = (int) ((first + i) / columns);
        int column = (int) ((first + i) % columns);
        int to = fanInFanOut ? column : row;
        int from = fanInFanOut ? row : column;
        float sum = 0;
        for (int k = 0; k < r; k++) {
          sum += b[to * r + k] * a[k * in + from];
        }
        into[offset + i] += scale * sum;
      }
    };
  }
}
