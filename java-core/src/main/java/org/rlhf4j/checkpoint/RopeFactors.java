package org.rlhf4j.checkpoint;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import org.rlhf4j.json.Json;

/**
 * The factors in a GGUF file's {@code rope_freqs.weight}, by which rotary frequencies are divided.
 * llama.cpp's converter computes them from Llama 3's {@code rope_scaling}; here the parameters are
 * found again from the factors.
 */
final class RopeFactors {
  /** Every Llama 3 model so far has these. */
  private static final double LOW = 1.0;

  private static final double HIGH = 4.0;

  private RopeFactors() {}

  /**
   * A {@code rope_scaling} object: Llama 3's parameters when they reproduce the factors, else the
   * factors themselves.
   */
  static ObjectNode describe(float[] factors, double theta) {
    ObjectNode scaling = Json.MAPPER.createObjectNode();
    double factor = Double.parseDouble(Float.toString(factors[factors.length - 1]));
    for (long context = 64; context <= 1 << 20; context *= 2) {
      if (matches(factors, theta, factor, context)) {
        scaling.put("rope_type", "llama3");
        scaling.put("factor", factor);
        scaling.put("low_freq_factor", LOW);
        scaling.put("high_freq_factor", HIGH);
        scaling.put("original_max_position_embeddings", context);
        return scaling;
      }
    }
    scaling.put("rope_type", "factors");
    ArrayNode list = scaling.putArray("factors");
    for (float value : factors) {
      list.add(value);
    }
    return scaling;
  }

  private static boolean matches(float[] factors, double theta, double factor, long context) {
    for (int i = 0; i < factors.length; i++) {
      double expected = llama3(i, factors.length, theta, factor, LOW, HIGH, context);
      // The converter computes in single precision, so the smooth part differs in the last bits.
      if (Math.abs(factors[i] - expected) > 1e-4 * expected) {
        return false;
      }
    }
    return true;
  }

  /** The factors of a {@code rope_scaling} object of Llama 3's kind, for {@code count} pairs. */
  static float[] llama3(JsonNode scaling, double theta, int count) {
    float[] factors = new float[count];
    for (int i = 0; i < count; i++) {
      factors[i] =
          (float)
              llama3(
                  i,
                  count,
                  theta,
                  scaling.path("factor").asDouble(8),
                  scaling.path("low_freq_factor").asDouble(LOW),
                  scaling.path("high_freq_factor").asDouble(HIGH),
                  scaling.path("original_max_position_embeddings").asLong(8192));
    }
    return factors;
  }

  /** Llama 3's factor for frequency {@code i} of {@code count}. */
  private static double llama3(
      int i, int count, double theta, double factor, double low, double high, long context) {
    double wavelength = 2 * Math.PI * Math.pow(theta, (double) i / count);
    if (wavelength < context / high) {
      return 1;
    }
    if (wavelength > context / low) {
      return factor;
    }
    double smooth = (context / wavelength - low) / (high - low);
    return 1 / ((1 - smooth) / factor + smooth);
  }
}
