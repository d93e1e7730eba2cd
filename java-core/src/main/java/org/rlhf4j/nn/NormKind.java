package org.rlhf4j.nn;

/** How a model normalises. */
public enum NormKind {
  /** x / rms(x) · w. */
  RMS,
  /** x / rms(x) · (1 + w): the checkpoint stores how far the weight is from one. */
  RMS_ONE_PLUS,
  /** (x − mean(x)) / std(x) · w + bias. */
  LAYER
}
