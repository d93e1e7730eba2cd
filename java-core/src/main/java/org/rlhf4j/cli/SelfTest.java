package org.rlhf4j.cli;

import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.SplittableRandom;
import java.util.function.BiFunction;
import org.rlhf4j.graph.Add;
import org.rlhf4j.graph.Attention;
import org.rlhf4j.graph.GatherRows;
import org.rlhf4j.graph.GeluTanh;
import org.rlhf4j.graph.Graph;
import org.rlhf4j.graph.Head;
import org.rlhf4j.graph.HeadNorm;
import org.rlhf4j.graph.LayerNorm;
import org.rlhf4j.graph.Linear;
import org.rlhf4j.graph.Parameter;
import org.rlhf4j.graph.RmsNorm;
import org.rlhf4j.graph.ScalarHead;
import org.rlhf4j.graph.Scale;
import org.rlhf4j.graph.Swiglu;
import org.rlhf4j.graph.Var;
import org.rlhf4j.tensor.AdamWConfig;
import org.rlhf4j.tensor.DType;
import org.rlhf4j.tensor.Device;
import org.rlhf4j.tensor.Dropout;
import org.rlhf4j.tensor.Kernels;
import org.rlhf4j.tensor.LoraSegment;
import org.rlhf4j.tensor.Nf4;
import org.rlhf4j.tensor.PpoLossConfig;
import org.rlhf4j.tensor.SampleConfig;
import org.rlhf4j.tensor.Scope;
import org.rlhf4j.tensor.Tensor;
import org.rlhf4j.tensor.Weight;

/**
 * A quick check of every kernel on a device: values with answers known by hand, and every backward
 * against the slope of its forward along a random direction.
 */
final class SelfTest {
  /** How one check went; {@code detail} says by how much it is off. */
  record Result(String op, boolean passed, String detail) {}

  private static final float STEP = 1e-2f;
  private static final double TOLERANCE = 2e-3;

  private final Device device;
  private final SplittableRandom random = new SplittableRandom(7);
  private final List<Result> results = new ArrayList<>();

  private SelfTest(Device device) {
    this.device = device;
  }

  static List<Result> run(Device device) {
    SelfTest test = new SelfTest(device);
    test.part("values", test::values);
    test.part("slopes", test::slopes);
    test.part("NF4", test::slopeOfNf4);
    return test.results;
  }

  /** What a part prepares may fail too: the others are run all the same. */
  private void part(String name, Runnable part) {
    try {
      part.run();
    } catch (RuntimeException e) {
      results.add(new Result(name, false, e.getMessage()));
    }
  }

  private interface Check {
    /** The error, 0 for a perfect result. */
    double run(Scope scope);
  }

  private void check(String op, double tolerance, Check check) {
    try (Scope scope = device.scope()) {
      double error = check.run(scope);
      results.add(
          new Result(op, error <= tolerance, String.format(Locale.ROOT, "error %.1e", error)));
    } catch (RuntimeException e) {
      results.add(new Result(op, false, e.getMessage()));
    }
  }

  private float[] normal(int n) {
    float[] x = new float[n];
    for (int i = 0; i < n; i++) {
      x[i] = (float) (random.nextGaussian() * 0.7);
    }
    return x;
  }

  private Tensor normal(Scope scope, long... shape) {
    long n = 1;
    for (long s : shape) {
      n *= s;
    }
    return scope.allocate(DType.F32, shape).copyFrom(normal((int) n));
  }

  private static double off(Tensor got, float... want) {
    float[] values = got.toFloats();
    double error = 0;
    for (int i = 0; i < want.length; i++) {
      error = Math.max(error, Math.abs(values[i] - want[i]));
    }
    return error;
  }

  private void values() {
    check(
        "fill, copy",
        0,
        s -> {
          Tensor x = s.allocate(DType.F32, 3);
          Kernels.fill(x, 1.5);
          Tensor y = s.allocate(DType.BF16, 3);
          Kernels.copy(y, x);
          return off(y, 1.5f, 1.5f, 1.5f);
        });
    check(
        "embedding, weight_rows",
        0,
        s -> {
          Tensor w = s.allocate(DType.F32, 2, 2).copyFrom(1f, 2f, 3f, 4f);
          Tensor y = s.allocate(DType.F32, 2, 2);
          Tensor rows = s.allocate(DType.F32, 2, 2);
          try (Weight packed = Weight.pack(w)) {
            Kernels.weightRows(rows, packed, s.of(0, 1));
          }
          Kernels.embedding(y, w, s.of(1, 0));
          Tensor gradW = s.zeros(DType.F32, 2, 2);
          Kernels.embeddingBackward(gradW, y, s.of(1, 1));
          return off(y, 3, 4, 1, 2) + off(rows, 1, 2, 3, 4) + off(gradW, 0, 0, 4, 6);
        });
    check(
        "nf4_quantize, nf4_dequantize",
        1e-6,
        s -> {
          Tensor w = s.zeros(DType.F32, 1, 64);
          w.copyFrom(sparse(64, 2f, -0.1f, -2f, 1.1f));
          Tensor back = s.allocate(DType.F32, 1, 64);
          double error = 0;
          for (boolean twice : new boolean[] {false, true}) {
            Nf4 four = Nf4.allocate(s, 1, 64, twice);
            Kernels.nf4Quantize(four, w);
            Kernels.nf4Dequantize(back, four);
            error += off(back, sparse(64, 2f, -0.1821000725f, -2f, 1.1252340078f));
          }
          return error;
        });
    check(
        "attention_decode, kv_append",
        1e-5,
        s -> {
          // The last row of a prefill, computed again from the cache.
          int n = 9;
          Attention.Heads heads = new Attention.Heads(4, 2, 8, 0);
          float[] columns = normal((int) (n * heads.columns()));
          float[] invFreq = {1, 0.5f, 0.25f, 0.1f, 0, 0, 0, 0};
          try (Graph g = Graph.inference(device)) {
            Tensor angles = angles(s, invFreq, n, 0);
            Tensor k = s.zeros(DType.F32, 4, 4, 2, 8); // pages of 4 tokens, used from the last on
            Tensor v = s.zeros(DType.F32, 4, 4, 2, 8);
            Tensor pages = s.of(3, 3, 3, 3, 2, 2, 2, 2, 1);
            Tensor places = s.of(0, 1, 2, 3, 0, 1, 2, 3, 0);
            Attention.Cache cache = new Attention.Cache(k, v, pages, places, null, null);
            Tensor all = s.allocate(DType.F32, n, heads.columns()).copyFrom(columns);
            float[] o =
                Attention.apply(g, g.constant(all), heads, angles, s.of(0, n), cache)
                    .value()
                    .rows(n - 1, n)
                    .toFloats();
            Tensor last = s.allocate(DType.F32, 1, heads.columns());
            last.copyFrom(
                java.util.Arrays.copyOfRange(
                    columns, columns.length - (int) heads.columns(), columns.length));
            Attention.Cache one =
                new Attention.Cache(
                    k,
                    v,
                    s.of(new int[] {1}),
                    s.of(new int[] {0}),
                    s.of(3, 2, 1).reshape(1, 3),
                    s.of(new int[] {n}));
            return off(
                Attention.decode(g, g.constant(last), heads, angles(s, invFreq, 1, n - 1), one)
                    .value(),
                o);
          }
        });
    check(
        "kl_penalty, shaped_rewards, gae, whiten",
        1e-5,
        s -> {
          Tensor kl = s.allocate(DType.F32, 3);
          Kernels.klPenalty(kl, s.of(-1f, -2f, -3f), s.of(-2f, -2f, -2f), 0);
          Tensor cu = s.of(0, 3);
          Tensor rewards = s.allocate(DType.F32, 3);
          Kernels.shapedRewards(rewards, kl, s.of(5f), cu, 0.1f);
          Tensor a = s.allocate(DType.F32, 3);
          Tensor r = s.allocate(DType.F32, 3);
          Kernels.gae(a, r, rewards, s.of(1f, 1f, 1f), cu, 1, 1);
          double error =
              off(rewards, -0.1f, 0, 5.1f) + off(a, 4, 4.1f, 4.1f) + off(r, 5, 5.1f, 5.1f);
          Tensor w = s.allocate(DType.F32, 2);
          Kernels.whiten(w, s.of(1f, 3f), true);
          return error + off(w, (float) -Math.sqrt(0.5), (float) Math.sqrt(0.5));
        });
    check(
        "grad_norm, adamw",
        1e-6,
        s -> {
          Tensor p = s.of(1f, 2f);
          Tensor g = s.of(3f, 4f);
          Tensor norm = s.allocate(DType.F32, 1);
          Kernels.gradNorm(norm, g);
          Kernels.adamw(
              p,
              null,
              s.zeros(DType.F32, 2),
              s.zeros(DType.F32, 2),
              g,
              norm,
              new AdamWConfig(0.1f, 0.9f, 0.999f, 0, 0, 0, 1, 2));
          return off(norm, 5) + off(p, 0.9f, 1.9f);
        });
    check(
        "sample",
        0,
        s -> {
          Tensor ids = s.allocate(DType.I32, 2);
          Tensor logits = s.allocate(DType.F32, 2, 3).copyFrom(0f, 9f, 1f, 0f, 0f, 80f);
          Tensor zeros = s.zeros(DType.I32, 2);
          Kernels.sample(ids, null, logits, zeros, zeros, null, null, new SampleConfig(0, 0, 1, 1));
          int[] greedy = ids.toInts();
          Kernels.sample(
              ids, null, logits, zeros, zeros, null, null, new SampleConfig(1, 1, 0.5f, 1));
          int[] cut = ids.toInts();
          return Math.abs(greedy[0] - 1)
              + Math.abs(greedy[1] - 2)
              + Math.abs(cut[0] - 1)
              + Math.abs(cut[1] - 2);
        });
    check(
        "ppo_loss",
        1e-6,
        s -> {
          Tensor stats = s.allocate(DType.F32, 16);
          Tensor gl = s.allocate(DType.F32, 2);
          Tensor gv = s.allocate(DType.F32, 2);
          Tensor lp = s.of(-1f, -2f);
          Kernels.ppoLoss(
              stats,
              gl,
              gv,
              lp,
              s.of(0f, 0f),
              null,
              lp,
              s.of(0f, 0f),
              s.of(1f, -3f),
              s.of(1f, 2f),
              null,
              new PpoLossConfig(0.2f, 0.2f, 0.5f, 0, 0, 0, 1));
          return off(stats, 1, 1.25f, 1.625f) + off(gl, -0.5f, 1.5f) + off(gv, -0.25f, -0.5f);
        });
    check(
        "pairwise_loss",
        1e-6,
        s -> {
          Tensor stats = s.allocate(DType.F32, 4);
          Tensor gc = s.allocate(DType.F32, 1);
          Tensor gr = s.allocate(DType.F32, 1);
          Kernels.pairwiseLoss(stats, gc, gr, s.of(2f), s.of(2f), null, 0, 1);
          return off(stats, (float) Math.log(2), 0, 0, 2) + off(gc, -0.5f) + off(gr, 0.5f);
        });
    check(
        "dropout_apply",
        0.06,
        s -> {
          Tensor x = s.allocate(DType.F32, 64, 64);
          Kernels.fill(x, 1);
          Tensor y = s.allocate(DType.F32, 64, 64);
          Kernels.dropoutApply(y, x, new Dropout(0.25f, 1, 2));
          double sum = 0;
          for (float f : y.toFloats()) {
            sum += f;
          }
          return Math.abs(sum / 4096 - 1);
        });
  }

  /** {@code first}, then zeros. */
  private static float[] sparse(int n, float... first) {
    return java.util.Arrays.copyOf(first, n);
  }

  private Tensor positions(Scope s, int n, int from) {
    int[] p = new int[n];
    for (int i = 0; i < n; i++) {
      p[i] = from + i;
    }
    return s.of(p);
  }

  private Tensor angles(Scope s, float[] invFreq, int n, int from) {
    Tensor table = s.allocate(DType.F32, n, invFreq.length);
    Tensor frequencies = s.allocate(DType.F32, 2, invFreq.length / 2).copyFrom(invFreq);
    Kernels.ropeTable(table, positions(s, n, from), frequencies);
    return table;
  }

  /** The gradient's component along a random direction against the central difference along it. */
  private void slope(String op, int rows, int columns, BiFunction<Graph, Var, Var> f) {
    check(
        op + " and its backward",
        TOLERANCE,
        s -> {
          float[] x = normal(rows * columns);
          float[] direction = normal(rows * columns);
          float[] upstream = null;
          double slope = 0;
          double scale = 1;
          try (Graph g = Graph.training(device)) {
            Var leaf = g.leaf(g.scope().allocate(DType.F32, rows, columns).copyFrom(x));
            Var y = f.apply(g, leaf);
            upstream = normal((int) y.value().elements());
            g.seed(y, g.scope().allocate(DType.F32, y.value().shape()).copyFrom(upstream));
            g.backward();
            float[] grad = leaf.grad().toFloats();
            for (int i = 0; i < grad.length; i++) {
              slope += (double) grad[i] * direction[i];
              scale += Math.abs((double) grad[i] * direction[i]);
            }
          }
          double difference =
              (along(f, x, direction, STEP, rows, upstream)
                  - along(f, x, direction, -STEP, rows, upstream));
          return Math.abs(slope - difference / (2 * STEP)) / scale;
        });
  }

  private double along(
      BiFunction<Graph, Var, Var> f,
      float[] x,
      float[] direction,
      float step,
      int rows,
      float[] upstream) {
    float[] moved = new float[x.length];
    for (int i = 0; i < x.length; i++) {
      moved[i] = x[i] + step * direction[i];
    }
    try (Graph g = Graph.inference(device)) {
      Tensor t = g.scope().allocate(DType.F32, rows, x.length / rows).copyFrom(moved);
      float[] y = f.apply(g, g.constant(t)).value().toFloats();
      double sum = 0;
      for (int i = 0; i < y.length; i++) {
        sum += (double) y[i] * upstream[i];
      }
      return sum;
    }
  }

  private void slopeOfNf4() {
    try (Scope s = device.scope()) {
      Nf4 four = Nf4.allocate(s, 70, 64, true);
      Kernels.nf4Quantize(four, normal(s, 70, 64));
      try (Weight w = Weight.packNf4(List.of(four), DType.F32)) {
        slope("linear in NF4", 5, 64, (g, x) -> Linear.apply(g, x, w, null, null, List.of()));
      }
    }
  }

  private void slopes() {
    try (Scope s = device.scope();
        Weight w = Weight.pack(normal(s, 24, 16));
        Weight vocabulary = Weight.pack(normal(s, 33, 16))) {
      Parameter norm = Parameter.frozen("norm", normal(s, 16));
      Parameter score = Parameter.frozen("score", normal(s, 1, 16));
      slope("add", 5, 16, (g, x) -> Add.apply(g, x, x));
      slope("gather_rows", 5, 16, (g, x) -> GatherRows.apply(g, x, g.scope().of(4, 0, 4)));
      slope("rms_norm", 5, 16, (g, x) -> RmsNorm.apply(g, x, norm, 1e-5f, DType.F32));
      Parameter shift = Parameter.frozen("shift", normal(s, 16));
      slope("layer_norm", 5, 16, (g, x) -> LayerNorm.apply(g, x, norm, shift, 1e-5f, DType.F32));
      slope("swiglu", 5, 16, Swiglu::apply);
      slope("gelu_tanh", 5, 16, GeluTanh::apply);
      slope("gelu_tanh as a gate", 5, 16, GeluTanh::gated);
      slope("scale", 5, 16, (g, x) -> Scale.apply(g, x, 1.5f));
      Parameter ofHead = Parameter.frozen("head norm", normal(s, 4));
      Attention.Heads few = new Attention.Heads(2, 1, 4, 0);
      slope("rms_norm of heads", 5, 16, (g, x) -> HeadNorm.apply(g, x, few, ofHead, ofHead, 1e-2f));
      slope("linear", 5, 16, (g, x) -> Linear.apply(g, x, w, null, null, List.of()));
      Tensor a = normal(s, 4, 16);
      Tensor b = normal(s, 24, 4);
      slope(
          "lora",
          5,
          16,
          (g, x) -> {
            LoraSegment segment = new LoraSegment(1, 4, 2, a, b, null, null);
            return Linear.apply(
                g,
                x,
                w,
                null,
                null,
                List.of(new Linear.Adapters(0, 24, List.of(segment), new Dropout(0.2f, 3, 4))));
          });
      slope(
          "head_logprob",
          5,
          16,
          (g, x) ->
              Head.logprobs(g, x, vocabulary, null, g.scope().of(0, 5, 32, 7, 7), 0.9f).logp());
      slope("scalar_head", 5, 16, (g, x) -> ScalarHead.apply(g, x, score, null));
      Attention.Heads heads = new Attention.Heads(4, 2, 8, 0);
      slope(
          "rope, attention",
          9,
          (int) heads.columns(),
          (g, x) -> {
            // Rotated in place: the op gets a copy of its own.
            Var own = Add.apply(g, x, g.constant(g.scope().zeros(DType.F32, x.value().shape())));
            Tensor angles = angles(g.scope(), new float[] {1, 0.5f, 0.25f, 0.1f, 0, 0, 0, 0}, 9, 0);
            return Attention.apply(g, own, heads, angles, g.scope().of(0, 4, 9), null);
          });
    }
  }
}
