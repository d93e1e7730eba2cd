package org.rlhf4j.algorithms;

/**
 * Mean and standard deviation of all scores so far, batch by batch, as TRL keeps them. (Chan et al.
 * 1979)
 */
public final class RunningMoments {
  private double mean;
  private double variance = 1;
  private double count = 1e-24;

  /** Takes a batch in. */
  public void update(float[] xs) {
    double batchMean = 0;
    for (float x : xs) {
      batchMean += x;
    }
    batchMean /= xs.length;
    double batchVariance = 0;
    for (float x : xs) {
      batchVariance += (x - batchMean) * (x - batchMean);
    }
    batchVariance /= xs.length;
    double delta = batchMean - mean;
    double total = count + xs.length;
    double m2 =
        variance * count + batchVariance * xs.length + delta * delta * count * xs.length / total;
    mean += delta * xs.length / total;
    variance = m2 / total;
    count = total;
  }

  public double mean() {
    return mean;
  }

  /** Unbiased. */
  public double std() {
    return Math.sqrt(variance * count / (count - 1));
  }

  /** What a resume needs. */
  public double[] state() {
    return new double[] {mean, variance, count};
  }

  public void restore(double[] state) {
    mean = state[0];
    variance = state[1];
    count = state[2];
  }
}
