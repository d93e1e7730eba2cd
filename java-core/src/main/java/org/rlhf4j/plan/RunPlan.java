package org.rlhf4j.plan;

/**
 * What a run will take, before it starts.
 *
 * @param weights bytes of the model
 * @param state bytes that stay between steps beside it: adapters, gradients, moments
 * @param transients bytes beyond those at their highest: a step's activations, or what loading
 *     passes through
 * @param process bytes of the Java process itself, data included; 0 on a GPU, whose memory it is
 *     not in
 * @param available bytes that the device has free: the GPU's own memory, or the machine's
 * @param secondsPerStep on this machine, for rows of average length
 * @param steps of the whole run
 */
public record RunPlan(
    long weights,
    long state,
    long transients,
    long process,
    long available,
    double secondsPerStep,
    long steps) {
  /** Peak of the device's memory; on the CPU that of the resident process. */
  public long memory() {
    return weights + state + transients + process;
  }

  /** Whether the machine has that, with a tenth to spare. */
  public boolean fits() {
    return memory() <= available * 0.9;
  }

  public double seconds() {
    return secondsPerStep * steps;
  }

  /** What one more layer, and one more token of vocabulary, adds. */
  private interface Figure {
    double of(Probe probe);
  }

  /**
   * A figure f(L, V) = a + b·L + c·V of the whole model from three probes, two of which differ in
   * their layers and two in their vocabularies: every buffer of a decoder grows with one of the two
   * or with neither.
   */
  private static double extrapolate(
      Figure f, Probe small, Probe deep, Probe wide, int layers, int vocab) {
    double perLayer = (f.of(deep) - f.of(small)) / (deep.layers() - small.layers());
    double perToken = (f.of(wide) - f.of(small)) / (wide.vocab() - small.vocab());
    return f.of(small)
        + Math.max(0, perLayer) * (layers - small.layers())
        + Math.max(0, perToken) * (vocab - small.vocab());
  }

  static RunPlan of(
      Probe small,
      Probe deep,
      Probe wide,
      int layers,
      int vocab,
      double shareOfLongest,
      long process,
      long available,
      long steps) {
    double highest = 0;
    for (int i = 0; i < small.phases().size(); i++) {
      int phase = i;
      highest =
          Math.max(
              highest, extrapolate(p -> p.phases().get(phase), small, deep, wide, layers, vocab));
    }
    double state = extrapolate(Probe::state, small, deep, wide, layers, vocab);
    // While the model is loaded there is no state yet.
    highest =
        Math.max(highest, extrapolate(Probe::loading, small, deep, wide, layers, vocab) - state);
    return new RunPlan(
        Math.round(extrapolate(Probe::weights, small, deep, wide, layers, vocab)),
        Math.round(state),
        Math.round(highest),
        process,
        available,
        extrapolate(Probe::seconds, small, deep, wide, layers, vocab) * shareOfLongest,
        steps);
  }
}
