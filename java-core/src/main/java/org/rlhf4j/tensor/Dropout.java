package org.rlhf4j.tensor;

/**
 * Dropout by counter: which element is dropped depends on seed, stream, row and column alone, so
 * the backward needs no mask.
 *
 * @param p the share that is dropped, 0 to 1
 */
public record Dropout(float p, long seed, long stream) {
  public static final Dropout NONE = new Dropout(0, 0, 0);
}
