package org.rlhf4j.nn;

import org.rlhf4j.checkpoint.ConvertedTensor;
import org.rlhf4j.checkpoint.StoredTensor;

/**
 * How a checkpoint stores a parameter, where that is not how the kernels read it. Converted once on
 * the way in and once on the way out, so that no op knows of it.
 */
public enum StoredAs {
  AS_IS {
    @Override
    long[] shape(long[] shape) {
      return shape;
    }

    @Override
    StoredTensor read(StoredTensor stored) {
      return stored;
    }

    @Override
    float[] write(float[] values, long[] shape) {
      return values;
    }
  },
  /** A linear layer's matrix as [in, out]: transformers' Conv1D. */
  TRANSPOSED {
    @Override
    long[] shape(long[] shape) {
      return new long[] {shape[1], shape[0]};
    }

    @Override
    StoredTensor read(StoredTensor stored) {
      return ConvertedTensor.transposed(stored);
    }

    @Override
    float[] write(float[] values, long[] shape) {
      return ConvertedTensor.transpose(values, shape);
    }
  },
  /** A norm's weight less one. */
  LESS_ONE {
    @Override
    long[] shape(long[] shape) {
      return shape;
    }

    @Override
    StoredTensor read(StoredTensor stored) {
      return ConvertedTensor.plus(stored, 1);
    }

    @Override
    float[] write(float[] values, long[] shape) {
      return ConvertedTensor.plus(values, -1);
    }
  };

  /** The stored shape of a parameter that the kernels read in {@code shape}. */
  abstract long[] shape(long[] shape);

  /** What the kernels read, from what is stored. */
  abstract StoredTensor read(StoredTensor stored);

  /** What is stored, from {@code values} as the kernels read them. */
  abstract float[] write(float[] values, long[] shape);
}
