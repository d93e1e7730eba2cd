package org.rlhf4j.nn;

/**
 * Rotary positions.
 *
 * @param frequencies radians per position of each pair of columns; twice as many columns of a head
 *     are rotated, the others are not
 * @param attentionFactor what cosines and sines are multiplied by
 * @param limit how many positions the frequencies are good for
 */
public record Rope(double[] frequencies, float attentionFactor, int limit) {
  /** θ^(−2i/d), nothing stretched. */
  public static Rope plain(double theta, int columns) {
    double[] frequencies = new double[columns / 2];
    for (int i = 0; i < frequencies.length; i++) {
      frequencies[i] = Math.pow(theta, -2.0 * i / columns);
    }
    return new Rope(frequencies, 1, Integer.MAX_VALUE);
  }

  /** Columns of a head that are rotated. */
  public int columns() {
    return 2 * frequencies.length;
  }

  /**
   * The frequencies in two parts: the nearest floats, then what they leave over. [2, columns / 2],
   * row-major.
   */
  public float[] parts() {
    int half = frequencies.length;
    float[] parts = new float[2 * half];
    for (int i = 0; i < half; i++) {
      parts[i] = (float) frequencies[i];
      parts[half + i] = (float) (frequencies[i] - parts[i]);
    }
    return parts;
  }
}
