package org.rlhf4j.nn;

import java.util.List;
import org.rlhf4j.checkpoint.FloatType;
import org.rlhf4j.checkpoint.TensorToWrite;
import org.rlhf4j.graph.Parameter;
import org.rlhf4j.graph.Parameters;
import org.rlhf4j.tensor.Tensor;

/** Parameters on their way into files. */
public final class ParameterFiles {
  private ParameterFiles() {}

  /** All of them under their own names, read from the device as they are written. */
  public static List<TensorToWrite> tensors(Parameters parameters, FloatType type) {
    return parameters.all().stream().map(p -> tensor(p, type)).toList();
  }

  private static TensorToWrite tensor(Parameter p, FloatType type) {
    Tensor flat = p.value().reshape(p.value().elements());
    return new TensorToWrite(
        p.name(),
        type,
        p.value().shape(),
        (first, count, into, offset) ->
            System.arraycopy(flat.rows(first, first + count).toFloats(), 0, into, offset, count));
  }
}
