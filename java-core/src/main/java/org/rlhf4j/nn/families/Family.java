package org.rlhf4j.nn.families;

import java.util.List;
import org.rlhf4j.nn.ModelConfig;

/** How models of one kind are wired, and what their checkpoints name the parts. */
interface Family {
  /** The values of config.json's "model_type" that are of this family. */
  List<String> modelTypes();

  /**
   * @throws org.rlhf4j.InputException naming the key that asks for what is not supported
   */
  ModelConfig read(ConfigJson json);
}
