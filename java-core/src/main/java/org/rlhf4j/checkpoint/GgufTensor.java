package org.rlhf4j.checkpoint;

/**
 * A tensor on its way into a GGUF file.
 *
 * @param name llama.cpp's ("blk.0.attn_q.weight")
 * @param shape row-major; rows are whole blocks of the type
 * @param values asked for consecutive ranges, in order, each exactly once
 */
record GgufTensor(String name, GgufType type, long[] shape, FloatSource values) {
  GgufTensor {
    long row = shape.length == 0 ? 1 : shape[shape.length - 1];
    if (row % type.storage().blockElements != 0) {
      throw new IllegalArgumentException(name + ": rows of " + row + " are no whole blocks");
    }
  }

  long byteSize() {
    return Shapes.bytes(type.storage(), Shapes.elements(shape));
  }
}
