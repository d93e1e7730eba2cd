package org.rlhf4j.checkpoint;

import java.lang.foreign.MemorySegment;
import java.util.Arrays;

/**
 * Double quantisation: scales become bytes in blocks of 256, after their mean has been taken off.
 * bitsandbytes' signed dynamic map has levels whose spacing grows tenfold from decade to decade
 * (arXiv 1511.04561).
 */
final class NestedScales {
  private NestedScales() {}

  static Nf4Scales.Nested quantise(Nf4Scales.Plain plain) {
    float[] scales = plain.absmax().toArray(Nf4Scales.FLOAT);
    double sum = 0;
    for (float scale : scales) {
      sum += scale;
    }
    float offset = (float) (sum / scales.length);
    int block = Nf4Scales.Nested.BLOCK;
    float[] levels = levels();
    byte[] codes = new byte[scales.length];
    float[] absmax = new float[(int) Nf4Scales.Nested.groups(scales.length)];
    for (int b = 0; b < absmax.length; b++) {
      int from = b * block;
      int to = Math.min(scales.length, from + block);
      for (int i = from; i < to; i++) {
        absmax[b] = Math.max(absmax[b], Math.abs(scales[i] - offset));
      }
      float inverse = absmax[b] == 0 ? 0 : 1 / absmax[b]; // all are the offset
      for (int i = from; i < to; i++) {
        codes[i] = (byte) nearest(levels, (scales[i] - offset) * inverse);
      }
    }
    return new Nf4Scales.Nested(
        MemorySegment.ofArray(codes),
        MemorySegment.ofArray(levels),
        MemorySegment.ofArray(absmax),
        offset);
  }

  /**
   * The index of the level nearest to {@code x} in [-1, 1], of two as near the lower, after x was
   * rounded to bitsandbytes' grid of 2^16 steps.
   */
  private static int nearest(float[] levels, float x) {
    float half = (Math.clamp(x, -1f, 1f) + 1) * 0.5f;
    int step = (int) (float) (half * 65535.0 + 0.5);
    float value = 2f * Math.min(step, 65535) / 65535 - 1;
    int index = 0; // how many midpoints are below the value
    for (int range = 128; range > 0; range /= 2) {
      int at = index + range;
      if (0.5f * (levels[at - 1] + levels[at]) < value) {
        index = at;
      }
    }
    return index;
  }

  /**
   * The 256 levels, ascending: in decade i of 7 the middles of 2^i equal steps from 0.1 to 1, times
   * 10^(i-6), with both signs; and 0 and 1.
   */
  static float[] levels() {
    float[] levels = new float[256];
    int n = 0;
    for (int decade = 0; decade < 7; decade++) {
      int steps = 1 << decade;
      float[] bounds = bounds(steps);
      float unit = (float) Math.pow(10, decade - 6);
      for (int i = 0; i < steps; i++) {
        float level = unit * ((bounds[i] + bounds[i + 1]) / 2);
        levels[n++] = level;
        levels[n++] = -level;
      }
    }
    levels[n++] = 0;
    levels[n++] = 1;
    Arrays.sort(levels);
    return levels;
  }

  /** 0.1 to 1 in so many steps, counted from the nearer end: rounded as torch.linspace does. */
  private static float[] bounds(int steps) {
    float[] bounds = new float[steps + 1];
    float step = (1f - 0.1f) / steps;
    for (int i = 0; i <= steps; i++) {
      bounds[i] = i < (steps + 1) / 2 ? Math.fma(step, i, 0.1f) : Math.fma(-step, steps - i, 1f);
    }
    return bounds;
  }
}
