package org.rlhf4j.algorithms;

import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.rlhf4j.config.RewardConfig;
import org.rlhf4j.data.Preference;
import org.rlhf4j.graph.Graph;
import org.rlhf4j.graph.Var;
import org.rlhf4j.json.Json;
import org.rlhf4j.nn.PackedBatch;
import org.rlhf4j.nn.RewardModel;
import org.rlhf4j.optim.AdamW;
import org.rlhf4j.optim.LrSchedule;
import org.rlhf4j.tensor.DType;
import org.rlhf4j.tensor.Kernels;
import org.rlhf4j.tensor.Tensor;

/**
 * Reward-model training from preference pairs: −log σ(chosen − rejected), with chosen and rejected
 * of a batch in one packed forward.
 */
public final class RewardTrainer implements Trainer {
  private final RewardModel model;
  private final List<Preference> data;
  private final RewardConfig config;
  private final AdamW optimizer;
  private final LrSchedule schedule;
  private final BatchOrder order;
  private long step;

  public RewardTrainer(RewardModel model, List<Preference> data, RewardConfig config) {
    this.model = model;
    this.data = data;
    this.config = config;
    optimizer = new AdamW(model.adapter().parameters(), Settings.hyper(config.training()));
    order =
        new BatchOrder(
            data.size(),
            config.training().batchSize() * config.training().gradientAccumulationSteps(),
            config.training().seed(),
            config.training().shuffle());
    schedule = Settings.schedule(config.training(), totalSteps());
  }

  @Override
  public long stepsDone() {
    return step;
  }

  @Override
  public long totalSteps() {
    return Settings.totalSteps(config.training(), order);
  }

  @Override
  public Map<String, Object> step() {
    long began = System.nanoTime();
    int[] chosen = order.batch(step);
    int micro = config.training().batchSize();
    double loss = 0;
    double accuracy = 0;
    double margin = 0;
    int tokens = 0;
    for (int from = 0; from < chosen.length; from += micro) {
      List<Preference> batch =
          Arrays.stream(chosen, from, Math.min(chosen.length, from + micro))
              .mapToObj(data::get)
              .toList();
      double share = (double) batch.size() / chosen.length;
      float[] stats = accumulate(batch, (float) share, step << 10 | from / micro);
      loss += share * stats[0];
      accuracy += share * stats[1];
      margin += share * stats[2];
      tokens += batch.stream().mapToInt(p -> p.chosenIds().length + p.rejectedIds().length).sum();
    }
    double rate = schedule.at((int) step);
    double norm = optimizer.step(rate);
    step++;
    Map<String, Object> metrics = new LinkedHashMap<>();
    metrics.put("loss", loss);
    metrics.put("accuracy", accuracy);
    metrics.put("margin", margin);
    metrics.put("learning_rate", rate);
    metrics.put("grad_norm", norm);
    metrics.put("epoch", (double) step / order.stepsPerEpoch());
    metrics.put("tokens_per_second", tokens / ((System.nanoTime() - began) / 1e9));
    return metrics;
  }

  /**
   * Adds {@code share} of the batch's mean gradient. Tells loss, accuracy, margin and mean score.
   */
  private float[] accumulate(List<Preference> batch, float share, long draw) {
    int b = batch.size();
    try (Graph g = Graph.training(model.base().device())) {
      List<int[]> sequences = new ArrayList<>();
      batch.forEach(p -> sequences.add(p.chosenIds()));
      batch.forEach(p -> sequences.add(p.rejectedIds()));
      PackedBatch packed =
          PackedBatch.of(g.scope(), sequences, model.adapter())
              .withDropout(config.training().seed(), draw);
      int[] last = new int[2 * b];
      for (int i = 0; i < last.length; i++) {
        last[i] = packed.starts()[i + 1] - 1;
      }
      Var hidden = model.base().hidden(g, packed, config.training().gradientCheckpointing());
      Var scores = model.scores(g, hidden, g.scope().of(last));
      Tensor stats = g.allocate(DType.F32, 4);
      Tensor grad = g.allocate(DType.F32, 2L * b);
      Kernels.pairwiseLoss(
          stats,
          grad.rows(0, b),
          grad.rows(b, 2L * b),
          scores.value().rows(0, b),
          scores.value().rows(b, 2L * b),
          null,
          (float) config.centerRewardsCoefficient(),
          share);
      g.seed(scores, grad);
      g.backward();
      return stats.toFloats();
    }
  }

  @Override
  public void save(Path folder) throws IOException {
    TrainerState.save(
        folder,
        model.adapter().parameters(),
        optimizer,
        Json.MAPPER.createObjectNode().put("step", step));
  }

  @Override
  public void load(Path folder) throws IOException {
    step = TrainerState.load(folder, model.adapter().parameters(), optimizer).path("step").asLong();
  }

  @Override
  public void close() {
    optimizer.close();
  }
}
