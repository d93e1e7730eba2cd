package org.rlhf4j.tensor;

import java.util.Arrays;

/**
 * A matrix [{@code rows}, {@code cols}] in bitsandbytes' NF4: four bits a value, one absmax for
 * each 64 values of the flattened matrix. With double quantisation absmax is in u8 and has tables
 * of its own; else {@code nestedCode}, {@code nestedAbsmax} and {@code offset} are null.
 *
 * @param codes U8 [(rows * cols + 1) / 2], row-major, two values a byte, the first in the high half
 * @param absmax F32 [ceil(rows * cols / 64)], or U8 of the same length
 * @param nestedCode F32 [256]: what the 256 values of a U8 absmax stand for
 * @param nestedAbsmax F32, one for each 256 elements of absmax
 * @param offset F32 [1]: the mean of the absmax
 */
public record Nf4(
    long rows,
    long cols,
    Tensor codes,
    Tensor absmax,
    Tensor nestedCode,
    Tensor nestedAbsmax,
    Tensor offset) {
  /** Values that share an absmax. */
  public static final int BLOCK = 64;

  /** Elements of absmax that share a nested absmax. */
  public static final int NESTED_BLOCK = 256;

  /** Uninitialised, but for {@code nestedCode}, which is bitsandbytes' {@link #dynamicCode}. */
  public static Nf4 allocate(Scope scope, long rows, long cols, boolean doubleQuantised) {
    if (rows <= 0 || cols <= 0) {
      throw new IllegalArgumentException("no matrix in NF4 has shape [" + rows + ", " + cols + "]");
    }
    long values = Math.multiplyExact(rows, cols);
    long blocks = Math.ceilDiv(values, BLOCK);
    Tensor codes = scope.allocate(DType.U8, Math.ceilDiv(values, 2));
    if (!doubleQuantised) {
      return new Nf4(rows, cols, codes, scope.allocate(DType.F32, blocks), null, null, null);
    }
    return new Nf4(
        rows,
        cols,
        codes,
        scope.allocate(DType.U8, blocks),
        scope.of(dynamicCode()),
        scope.allocate(DType.F32, Math.ceilDiv(blocks, NESTED_BLOCK)),
        scope.allocate(DType.F32, 1));
  }

  /** Whether the absmax is quantised itself. */
  public boolean isDouble() {
    return absmax.dtype() == DType.U8;
  }

  /** Of all of its tensors. */
  public long bytes() {
    long bytes = codes.bytes() + absmax.bytes();
    return isDouble() ? bytes + nestedCode.bytes() + nestedAbsmax.bytes() + offset.bytes() : bytes;
  }

  /**
   * The signed dynamic 8-bit data type (Dettmers 2016, "8-Bit Approximations for Parallelism in
   * Deep Learning") as bitsandbytes computes it, ascending: for each exponent e from -6 to 0, the
   * middles of 2^(e+6) equal parts of [0.1, 1] times 10^e, with either sign; 0 and 1.
   */
  static float[] dynamicCode() {
    float[] code = new float[256];
    int n = 0;
    for (int e = -6; e <= 0; e++) {
      int parts = 1 << (e + 6);
      float step = 0.9f / parts;
      float power = (float) Math.pow(10, e);
      for (int i = 0; i < parts; i++) {
        float middle = (boundary(i, parts, step) + boundary(i + 1, parts, step)) / 2;
        code[n++] = power * middle;
        code[n++] = -power * middle;
      }
    }
    code[n++] = 0;
    code[n] = 1;
    Arrays.sort(code);
    return code;
  }

  /** torch.linspace(0.1, 1, parts + 1)[i] in f32, which counts from the nearer end. */
  private static float boundary(int i, int parts, float step) {
    return i < (parts + 1) / 2 ? Math.fma(step, i, 0.1f) : Math.fma(-step, parts - i, 1f);
  }
}
