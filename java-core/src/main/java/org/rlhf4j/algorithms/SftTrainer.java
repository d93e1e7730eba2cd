package org.rlhf4j.algorithms;

import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.rlhf4j.config.SftConfig;
import org.rlhf4j.data.Demonstration;
import org.rlhf4j.graph.GatherRows;
import org.rlhf4j.graph.Graph;
import org.rlhf4j.graph.Head;
import org.rlhf4j.graph.Parameters;
import org.rlhf4j.graph.Var;
import org.rlhf4j.json.Json;
import org.rlhf4j.lora.LoraAdapter;
import org.rlhf4j.nn.CausalLm;
import org.rlhf4j.nn.PackedBatch;
import org.rlhf4j.optim.AdamW;
import org.rlhf4j.optim.LrSchedule;

/**
 * Supervised fine-tuning: cross entropy on the tokens after the prompt, averaged over all such
 * tokens of a step (of all its micro-batches together). Trains an adapter, or every parameter of
 * the model; with prompts of length 0, it is pre-training.
 */
public final class SftTrainer implements Trainer {
  private final CausalLm model;
  private final LoraAdapter adapter;
  private final List<Demonstration> data;
  private final SftConfig config;
  private final Parameters parameters;
  private final AdamW optimizer;
  private final LrSchedule schedule;
  private final BatchOrder order;
  private long step;

  /**
   * @param adapter what is trained; null: all parameters of the model, which must be trainable
   */
  public SftTrainer(
      CausalLm model, LoraAdapter adapter, List<Demonstration> data, SftConfig config) {
    this.model = model;
    this.adapter = adapter;
    this.data = data;
    this.config = config;
    parameters = adapter == null ? model.parameters() : adapter.parameters();
    optimizer = new AdamW(parameters, Settings.hyper(config.training()));
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
    int counted = 0;
    for (int i : chosen) {
      counted += data.get(i).ids().length - Math.max(1, data.get(i).promptLength());
    }
    double loss = 0;
    int tokens = 0;
    for (int from = 0; from < chosen.length; from += micro) {
      List<Demonstration> batch =
          Arrays.stream(chosen, from, Math.min(chosen.length, from + micro))
              .mapToObj(data::get)
              .toList();
      loss += accumulate(batch, counted, step << 10 | from / micro);
      tokens += batch.stream().mapToInt(d -> d.ids().length).sum();
    }
    double rate = schedule.at((int) step);
    double norm = optimizer.step(rate);
    step++;
    Map<String, Object> metrics = new LinkedHashMap<>();
    metrics.put("loss", loss / counted);
    metrics.put("learning_rate", rate);
    metrics.put("grad_norm", norm);
    metrics.put("epoch", (double) step / order.stepsPerEpoch());
    metrics.put("tokens_per_second", tokens / ((System.nanoTime() - began) / 1e9));
    return metrics;
  }

  /**
   * Adds the gradient of one micro-batch, as its share of {@code counted} tokens; tells the sum of
   * its losses.
   */
  private double accumulate(List<Demonstration> batch, int counted, long draw) {
    try (Graph g = Graph.training(model.device())) {
      PackedBatch packed =
          PackedBatch.of(g.scope(), batch.stream().map(Demonstration::ids).toList(), adapter)
              .withDropout(config.training().seed(), draw);
      List<Integer> rows = new ArrayList<>();
      List<Integer> targets = new ArrayList<>();
      for (int b = 0; b < batch.size(); b++) {
        int[] ids = batch.get(b).ids();
        for (int i = Math.max(1, batch.get(b).promptLength()); i < ids.length; i++) {
          rows.add(packed.starts()[b] + i - 1);
          targets.add(ids[i]);
        }
      }
      Var hidden = model.hidden(g, packed, config.training().gradientCheckpointing());
      Var predicting = GatherRows.apply(g, hidden, g.scope().of(ints(rows)));
      float[] loss =
          Head.crossEntropy(
                  g,
                  predicting,
                  model.head(),
                  adapter == null ? model.headGrad() : null,
                  g.scope().of(ints(targets)),
                  1f / counted)
              .toFloats();
      g.backward();
      return loss[0];
    }
  }

  private static int[] ints(List<Integer> list) {
    return list.stream().mapToInt(Integer::intValue).toArray();
  }

  @Override
  public void save(Path folder) throws IOException {
    TrainerState.save(
        folder, parameters, optimizer, Json.MAPPER.createObjectNode().put("step", step));
  }

  @Override
  public void load(Path folder) throws IOException {
    step = TrainerState.load(folder, parameters, optimizer).path("step").asLong();
  }

  @Override
  public void close() {
    optimizer.close();
  }
}
