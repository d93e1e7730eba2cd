package org.rlhf4j.checkpoint;

/**
 * A tensor on its way into a file.
 *
 * @param shape row-major; empty for a scalar
 * @param values asked for consecutive ranges, in order, each exactly once
 */
public record TensorToWrite(String name, FloatType type, long[] shape, FloatSource values) {
  /** A whole tensor that lies in an array. */
  public static TensorToWrite of(String name, FloatType type, long[] shape, float[] values) {
    if (Shapes.elements(shape) != values.length) {
      throw new IllegalArgumentException(
          name + ": shape has " + Shapes.elements(shape) + " elements, the array " + values.length);
    }
    return new TensorToWrite(
        name,
        type,
        shape,
        (first, count, into, offset) -> System.arraycopy(values, (int) first, into, offset, count));
  }

  /** A stored tensor under its own name, cast to {@code type}. */
  public static TensorToWrite of(StoredTensor tensor, FloatType type) {
    return new TensorToWrite(tensor.name(), type, tensor.shape(), tensor);
  }

  long byteSize() {
    long elements = Shapes.elements(shape);
    if (elements < 0) {
      throw new IllegalArgumentException(name + ": impossible shape");
    }
    return Math.multiplyExact(elements, type.bytes());
  }
}
