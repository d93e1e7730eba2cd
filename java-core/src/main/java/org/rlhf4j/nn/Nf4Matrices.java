package org.rlhf4j.nn;

import org.rlhf4j.checkpoint.FloatSource;
import org.rlhf4j.checkpoint.FloatType;
import org.rlhf4j.checkpoint.Nf4Scales;
import org.rlhf4j.checkpoint.Nf4Tensor;
import org.rlhf4j.checkpoint.StoredTensor;
import org.rlhf4j.tensor.DType;
import org.rlhf4j.tensor.Device;
import org.rlhf4j.tensor.Kernels;
import org.rlhf4j.tensor.Nf4;
import org.rlhf4j.tensor.Scope;
import org.rlhf4j.tensor.Tensor;

/** Matrices in NF4 from a checkpoint to a device, and from a device to a checkpoint. */
public final class Nf4Matrices {
  private Nf4Matrices() {}

  /**
   * What is stored in NF4 as it is; anything else is quantised on the device.
   *
   * @param dtype what the numbers are cast to before they are quantised: F32 or BF16
   * @param nested whether scales are quantised too
   */
  static Nf4 load(Scope scope, StoredTensor stored, DType dtype, boolean nested) {
    long[] shape = stored.shape();
    Nf4 loaded = Nf4.allocate(scope, shape[0], shape[1], nested);
    if (stored instanceof Nf4Tensor quantised) {
      TensorLoader.load(quantised.withScales(nested), loaded);
      return loaded;
    }
    try (Scope loading = scope.device().scope()) {
      Tensor w = loading.allocate(dtype, shape);
      TensorLoader.load(stored, w);
      Kernels.nf4Quantize(loaded, w);
    }
    return loaded;
  }

  /**
   * Quantises a matrix for a file.
   *
   * @param values its elements, which are rounded to {@code type} before they are quantised
   */
  public static Nf4Tensor quantise(
      Device device,
      String name,
      long[] shape,
      FloatSource values,
      FloatType type,
      boolean nested) {
    try (Scope scope = device.scope()) {
      Tensor w = scope.allocate(DType.F32, shape);
      TensorLoader.load(type.rounding(values), w);
      Nf4 q = Nf4.allocate(scope, shape[0], shape[1], nested);
      Kernels.nf4Quantize(q, w);
      Nf4Scales scales =
          nested
              ? Nf4Scales.ofNested(
                  q.absmax().toBytes(),
                  q.nestedCode().toBytes(),
                  q.nestedAbsmax().toBytes(),
                  q.offset().item())
              : Nf4Scales.ofPlain(q.absmax().toBytes());
      return Nf4Tensor.of(name, shape, q.codes().toBytes(), scales, type);
    }
  }
}
