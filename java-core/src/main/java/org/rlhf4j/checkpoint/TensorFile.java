package org.rlhf4j.checkpoint;

import java.nio.file.Path;
import java.util.Map;
import org.rlhf4j.InputException;
import org.rlhf4j.Nearest;

/** One or several files that hold named tensors. Closing unmaps them; it can be called twice. */
public interface TensorFile extends AutoCloseable {
  /** The file (or the index, or the folder) as the user named it. */
  Path path();

  /** All tensors by name, in the order of the file. Unmodifiable. */
  Map<String, StoredTensor> tensors();

  /**
   * The tensor of that name; an InputException names the file, the tensor and the nearest names if
   * there is none.
   */
  default StoredTensor tensor(String name) {
    StoredTensor found = tensors().get(name);
    if (found == null) {
      throw InputException.at(
          path(),
          "has no tensor '"
              + name
              + "' among its "
              + tensors().size()
              + Nearest.hint(name, tensors().keySet()));
    }
    return found;
  }

  @Override
  void close();
}
