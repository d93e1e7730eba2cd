package org.rlhf4j.algorithms;

import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.function.BiConsumer;
import org.rlhf4j.algorithms.PpoMath.Advantages;
import org.rlhf4j.algorithms.RolloutSource.Rollout;
import org.rlhf4j.config.PpoConfig;
import org.rlhf4j.graph.GatherRows;
import org.rlhf4j.graph.Graph;
import org.rlhf4j.graph.Head;
import org.rlhf4j.graph.Var;
import org.rlhf4j.json.Json;
import org.rlhf4j.lora.LoraAdapter;
import org.rlhf4j.nn.CausalLm;
import org.rlhf4j.nn.PackedBatch;
import org.rlhf4j.nn.Policy;
import org.rlhf4j.nn.RewardModel;
import org.rlhf4j.optim.AdamW;
import org.rlhf4j.optim.LrSchedule;
import org.rlhf4j.tensor.DType;
import org.rlhf4j.tensor.Kernels;
import org.rlhf4j.tensor.PpoLossConfig;
import org.rlhf4j.tensor.Scope;
import org.rlhf4j.tensor.Tensor;

/**
 * Proximal policy optimisation with a KL penalty against a reference. DESIGN §4; each {@link #step}
 * is one batch of queries.
 */
public final class PpoTrainer implements Trainer {
  private final Policy policy;
  private final RolloutSource source;
  private final PpoConfig config;
  private final RolloutScorer scorer;
  private final AdamW optimizer;
  private final LrSchedule schedule;
  private final BatchOrder order;
  private final KlController kl;
  private final RunningMoments moments = new RunningMoments();
  private final BiConsumer<Long, List<ScoredTrajectory>> onRollouts;
  private final MinibatchOrder minibatches;
  private long step;

  /**
   * Sees every minibatch's statistics and gradient norm: for tests that follow a trajectory update
   * by update.
   */
  BiConsumer<float[], Double> onMinibatch = (stats, norm) -> {};

  /** The order in which an epoch goes through a batch's trajectories. */
  interface MinibatchOrder {
    int[] order(long step, int epoch, int trajectories);
  }

  /**
   * @param reference the frozen adapter that the policy is held to, or null: the bare base
   * @param reward null where all scores are recorded
   * @param onRollouts told the batch's number, counted from 1, and its judged trajectories
   */
  public PpoTrainer(
      Policy policy,
      LoraAdapter reference,
      RewardModel reward,
      RolloutSource source,
      PpoConfig config,
      BiConsumer<Long, List<ScoredTrajectory>> onRollouts) {
    this(
        policy,
        reference,
        reward,
        source,
        config,
        onRollouts,
        (step, epoch, n) ->
            BatchOrder.permutation(
                n,
                ~config.training().seed(),
                step * config.ppoEpochs() + epoch,
                config.training().shuffle()));
  }

  PpoTrainer(
      Policy policy,
      LoraAdapter reference,
      RewardModel reward,
      RolloutSource source,
      PpoConfig config,
      BiConsumer<Long, List<ScoredTrajectory>> onRollouts,
      MinibatchOrder minibatches) {
    this.minibatches = minibatches;
    this.policy = policy;
    this.source = source;
    this.config = config;
    this.onRollouts = onRollouts;
    scorer =
        new RolloutScorer(
            policy, reference, reward, config.klPenalty(), (float) config.temperature());
    optimizer = new AdamW(policy.adapter().parameters(), Settings.hyper(config.training()));
    order =
        new BatchOrder(
            source.size(),
            config.training().batchSize(),
            config.training().seed(),
            config.training().shuffle());
    schedule = Settings.schedule(config.training(), totalSteps());
    kl =
        new KlController(
            config.initKlCoef(), config.adapKlCtrl(), config.target(), config.horizon());
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
    try (Scope scope = policy.base().device().scope()) {
      PpoStats stats = new PpoStats();
      Rollout rollout = source.rollout(order.batch(step), step); // 1. act
      List<Trajectory> trajectories = rollout.trajectories();
      stats.rolloutDone(trajectories);

      Scores judged = scorer.score(scope, trajectories, rollout.scores()); // 2. one shared pass
      float[] scores = shapedScores(trajectories, judged.scores());
      stats.scoringDone();

      Advantages gae = // 3. judge
          PpoMath.advantages(
              scope,
              judged,
              scores,
              kl.value(),
              config.gamma(),
              config.lam(),
              config.whitenRewards(),
              config.whitenAdvantages());

      double rate = schedule.at((int) step);
      update(trajectories, judged, gae, rate, stats); // 4. improve

      double meanKl = stats.batch(trajectories, judged, scores, gae, kl.value()); // 5. report
      kl.update(meanKl, trajectories.size());
      step++;
      onRollouts.accept(step, stats.scored());
      return stats.metrics(rate, (double) step / order.stepsPerEpoch());
    }
  }

  /**
   * Scores after the penalty for responses without an end, normalisation and clipping, each where
   * configured.
   */
  private float[] shapedScores(List<Trajectory> trajectories, float[] raw) {
    float[] scores = raw.clone();
    for (int i = 0; i < scores.length; i++) {
      if (config.missingEosPenalty() > 0 && !trajectories.get(i).eos()) {
        scores[i] -= (float) config.missingEosPenalty();
      }
    }
    if (config.useScoreScaling()) {
      moments.update(scores);
      for (int i = 0; i < scores.length; i++) {
        double centred = config.useScoreNorm() ? scores[i] - moments.mean() : scores[i];
        scores[i] = (float) (centred / (moments.std() + Math.ulp(1f)));
      }
    }
    if (config.scoreClip() > 0) {
      float bound = (float) config.scoreClip();
      for (int i = 0; i < scores.length; i++) {
        scores[i] = Math.clamp(scores[i], -bound, bound);
      }
    }
    return scores;
  }

  /** {@code ppo_epochs} passes over shuffled minibatches. */
  private void update(
      List<Trajectory> trajectories, Scores judged, Advantages gae, double rate, PpoStats stats) {
    int size = config.miniBatchSize();
    int accumulation = config.training().gradientAccumulationSteps();
    for (int epoch = 0; epoch < config.ppoEpochs(); epoch++) {
      long round = step * config.ppoEpochs() + epoch;
      int[] shuffled = minibatches.order(step, epoch, trajectories.size());
      int pending = 0;
      for (int from = 0; from < shuffled.length; from += size) {
        int[] part = Arrays.copyOfRange(shuffled, from, Math.min(shuffled.length, from + size));
        boolean last = from + size >= shuffled.length;
        float[] s = accumulate(trajectories, part, judged, gae, round, 1f / accumulation);
        double norm = Double.NaN;
        if (++pending == accumulation || last) {
          norm = optimizer.step(rate);
          pending = 0;
        }
        stats.minibatch(s, norm);
        onMinibatch.accept(s, norm);
        if (config.earlyStopping() && s[PpoStats.POLICYKL] > 1.5 * config.targetKl()) {
          optimizer.discard();
          return;
        }
      }
    }
  }

  /** Adds the gradient of one minibatch; tells the loss kernel's statistics. */
  private float[] accumulate(
      List<Trajectory> trajectories,
      int[] part,
      Scores judged,
      Advantages gae,
      long round,
      float gradScale) {
    CausalLm base = policy.base();
    List<Trajectory> chosen = Arrays.stream(part).mapToObj(trajectories::get).toList();
    ResponseRows rows = ResponseRows.of(chosen);
    try (Graph g = Graph.training(base.device())) {
      Scope scope = g.scope();
      PackedBatch batch =
          PackedBatch.of(scope, chosen.stream().map(Trajectory::ids).toList(), policy.adapter());
      if (config.dropoutInUpdate()) {
        batch = batch.withDropout(config.training().seed(), round << 12 | part[0]);
      }
      Var hidden = base.hidden(g, batch, config.training().gradientCheckpointing());
      Var predicting = GatherRows.apply(g, hidden, scope.of(rows.rows()));
      Head.Logprobs now =
          Head.logprobs(
              g,
              predicting,
              base.head(),
              null,
              scope.of(rows.targets()),
              (float) config.temperature());
      Var values = policy.values(g, predicting);

      Tensor index = scope.of(positions(trajectories, part));
      int n = rows.tokens();
      Tensor stats = scope.allocate(DType.F32, PpoStats.COUNT);
      Tensor gradLogp = scope.allocate(DType.F32, n);
      Tensor gradValues = scope.allocate(DType.F32, n);
      boolean policyFrozen = step < config.valueWarmupSteps();
      Kernels.ppoLoss(
          stats,
          gradLogp,
          gradValues,
          now.logp().value(),
          values.value(),
          now.entropy(),
          judged.logp(),
          judged.values(),
          gae.advantages(),
          gae.returns(),
          index,
          new PpoLossConfig(
              (float) config.cliprange(),
              (float) config.cliprangeValue(),
              (float) config.vfCoef(),
              (float) config.ratioThreshold(),
              (float) config.logRatioClamp(),
              (float) config.dualClip(),
              gradScale));
      if (!policyFrozen) {
        g.seed(now.logp(), gradLogp);
      }
      g.seed(values, gradValues);
      g.backward();
      return stats.toFloats();
    }
  }

  /**
   * Where the tokens of the trajectories {@code part} lie among the batch's packed response tokens.
   */
  private static int[] positions(List<Trajectory> trajectories, int[] part) {
    int[] starts = ResponseRows.of(trajectories).starts();
    List<Integer> index = new ArrayList<>();
    for (int b : part) {
      for (int i = starts[b]; i < starts[b + 1]; i++) {
        index.add(i);
      }
    }
    return index.stream().mapToInt(Integer::intValue).toArray();
  }

  @Override
  public void save(Path folder) throws IOException {
    ObjectNode counters = Json.MAPPER.createObjectNode();
    counters.put("step", step).put("kl_coef", kl.value());
    for (double d : moments.state()) {
      counters.withArray("score_moments").add(d);
    }
    TrainerState.save(folder, policy.adapter().parameters(), optimizer, counters);
  }

  @Override
  public void load(Path folder) throws IOException {
    ObjectNode counters = TrainerState.load(folder, policy.adapter().parameters(), optimizer);
    step = counters.path("step").asLong();
    kl.set(counters.path("kl_coef").asDouble());
    double[] state = new double[3];
    for (int i = 0; i < 3; i++) {
      state[i] = counters.path("score_moments").path(i).asDouble();
    }
    moments.restore(state);
  }

  @Override
  public void close() {
    optimizer.close();
  }
}
