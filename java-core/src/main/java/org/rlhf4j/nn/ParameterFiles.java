package org.rlhf4j.nn;

import java.util.List;
import org.rlhf4j.checkpoint.FloatSource;
import org.rlhf4j.checkpoint.FloatType;
import org.rlhf4j.checkpoint.TensorToWrite;
import org.rlhf4j.tensor.Tensor;

/** Parameters on their way into files. */
public final class ParameterFiles {
  private ParameterFiles() {}

  /** All of a trainable model's, as checkpoints store them; read from the device when written. */
  public static List<TensorToWrite> tensors(CausalLm model, FloatType type) {
    return model.config().parameters().stream()
        .map(p -> tensor(p, model.parameters().get(p.name()).value(), type))
        .toList();
  }

  private static TensorToWrite tensor(ModelParameter p, Tensor value, FloatType type) {
    FloatSource source = p.storedAs() == StoredAs.AS_IS ? inParts(value) : new Converted(p, value);
    return new TensorToWrite(p.name(), type, p.storedAs().shape(p.shape()), source);
  }

  private static FloatSource inParts(Tensor value) {
    Tensor flat = value.reshape(value.elements());
    return (first, count, into, offset) ->
        System.arraycopy(flat.rows(first, first + count).toFloats(), 0, into, offset, count);
  }

  /** Converted as a whole for the first part, forgotten after the last. */
  private static final class Converted implements FloatSource {
    private final ModelParameter parameter;
    private final Tensor value;
    private float[] stored;

    Converted(ModelParameter parameter, Tensor value) {
      this.parameter = parameter;
      this.value = value;
    }

    @Override
    public void read(long first, int count, float[] into, int offset) {
      if (stored == null) {
        stored = parameter.storedAs().write(value.toFloats(), parameter.shape());
      }
      System.arraycopy(stored, (int) first, into, offset, count);
      if (first + count == stored.length) {
        stored = null;
      }
    }
  }
}
