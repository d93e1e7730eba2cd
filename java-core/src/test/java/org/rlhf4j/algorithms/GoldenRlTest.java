package org.rlhf4j.algorithms;

import com.fasterxml.jackson.databind.JsonNode;
import java.util.List;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.rlhf4j.checkpoint.SafetensorsFile;
import org.rlhf4j.tensor.DType;
import org.rlhf4j.tensor.Device;
import org.rlhf4j.tensor.Kernels;
import org.rlhf4j.tensor.PpoLossConfig;
import org.rlhf4j.tensor.PpoLossStats;
import org.rlhf4j.tensor.Scope;
import org.rlhf4j.tensor.Tensor;
import org.rlhf4j.testing.Close;
import org.rlhf4j.testing.Golden;
import org.rlhf4j.testing.TestDevice;

/**
 * The arithmetic of PPO and of the reward loss against values made in float64 and cross-checked
 * with TRL.
 */
class GoldenRlTest {
  private SafetensorsFile file;
  private JsonNode json;
  private Device device;
  private Scope scope;

  @BeforeEach
  void open() {
    file = Golden.tensors("rl.safetensors");
    json = Golden.json("rl.json");
    device = TestDevice.open();
    scope = device.scope();
  }

  @AfterEach
  void close() {
    if (device != null) {
      device.close();
      file.close();
    }
  }

  private Tensor in(String name) {
    return scope.of(Golden.floats(file, name));
  }

  private Tensor out(String like) {
    return scope.allocate(DType.F32, Golden.floats(file, like).length);
  }

  private void check(String name, Tensor got) {
    Close.check(name, got.toFloats(), Golden.floats(file, name), 1e-5, 1e-5);
  }

  private Tensor cu() {
    return scope.of(Golden.ints(file, "cu_seqlens"));
  }

  @Test
  void penaltiesAndRewards() {
    List<String> kinds = List.of("kl", "abs", "mse", "k3");
    for (int i = 0; i < kinds.size(); i++) {
      Tensor kl = out("logp");
      Kernels.klPenalty(kl, in("logp"), in("ref_logp"), i);
      check("kl." + kinds.get(i), kl);
      Tensor rewards = out("logp");
      Kernels.shapedRewards(rewards, kl, in("scores"), cu(), 0.2f);
      check("rewards." + kinds.get(i), rewards);
    }
  }

  @Test
  void gaeAndWhitening() {
    for (int i = 0; json.has("gae." + i); i++) {
      JsonNode c = json.get("gae." + i);
      String name = "gae." + i + ".";
      Tensor advantages = out("logp");
      Tensor returns = out("logp");
      Kernels.gae(
          advantages,
          returns,
          in(c.get("rewards").asText()),
          in("values"),
          cu(),
          (float) c.get("gamma").asDouble(),
          (float) c.get("lam").asDouble());
      check(name + "advantages", advantages);
      check(name + "returns", returns);
      Tensor white = out("logp");
      Kernels.whiten(white, advantages, true);
      check(name + "whitened", white);
      Kernels.whiten(white, advantages, false);
      check(name + "whitened_keep_mean", white);
    }
  }

  @Test
  void ppoLoss() {
    JsonNode c = json.get("loss");
    Tensor stats = scope.allocate(DType.F32, PpoLossStats.COUNT);
    Tensor gradLogp = out("logp");
    Tensor gradValues = out("logp");
    Kernels.ppoLoss(
        stats,
        gradLogp,
        gradValues,
        in("new_logp"),
        in("new_values"),
        null,
        in("logp"),
        in("values"),
        in("gae.0.whitened"),
        in("gae.0.returns"),
        null,
        new PpoLossConfig(
            (float) c.get("cliprange").asDouble(),
            (float) c.get("cliprange_value").asDouble(),
            (float) c.get("vf_coef").asDouble(),
            10,
            0,
            0,
            1));
    float[] s = stats.toFloats();
    figure(c, "policy", s[PpoLossStats.LOSS_POLICY]);
    figure(c, "value", s[PpoLossStats.LOSS_VALUE]);
    figure(c, "total", s[PpoLossStats.LOSS_TOTAL]);
    figure(c, "policy_clipfrac", s[PpoLossStats.POLICY_CLIPFRAC]);
    figure(c, "value_clipfrac", s[PpoLossStats.VALUE_CLIPFRAC]);
    figure(c, "approxkl", s[PpoLossStats.APPROXKL]);
    figure(c, "ratio_mean", s[PpoLossStats.RATIO_MEAN]);
    double explained =
        PpoMath.explainedVariance(
            Golden.floats(file, "values"), Golden.floats(file, "gae.0.returns"));
    figure(c, "explained_variance", explained);
    check("loss.grad_logp", gradLogp);
    check("loss.grad_values", gradValues);
  }

  private static void figure(JsonNode c, String name, double got) {
    Close.check(name, got, c.get(name).asDouble(), 1e-5, 1e-5);
  }

  @Test
  void pairwiseLoss() {
    for (String name : List.of("pairwise", "pairwise_margin")) {
      Tensor stats = scope.allocate(DType.F32, 4);
      Tensor gradChosen = out("pairwise.chosen");
      Tensor gradRejected = out("pairwise.chosen");
      Kernels.pairwiseLoss(
          stats,
          gradChosen,
          gradRejected,
          in("pairwise.chosen"),
          in("pairwise.rejected"),
          name.equals("pairwise") ? null : in("pairwise_margin.margin"),
          0,
          1);
      figure(json.get(name), "loss", stats.toFloats()[0]);
      if (json.get(name).has("accuracy")) {
        figure(json.get(name), "accuracy", stats.toFloats()[1]);
      }
      check(name + ".grad_chosen", gradChosen);
      check(name + ".grad_rejected", gradRejected);
    }
  }

  @Test
  void adaptiveKl() {
    JsonNode c = json.get("adaptive_kl");
    KlController kl =
        new KlController(
            c.get("init").asDouble(),
            true,
            c.get("target").asDouble(),
            c.get("horizon").asDouble());
    for (JsonNode step : c.get("steps")) {
      kl.update(step.get("kl").asDouble(), c.get("n").asInt());
      Close.check("beta", kl.value(), step.get("beta").asDouble(), 1e-12, 1e-9);
    }
  }
}
