package org.rlhf4j.graph;

import static org.junit.jupiter.api.Assertions.assertNull;

import java.util.List;
import java.util.SplittableRandom;
import java.util.function.BiFunction;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.rlhf4j.tensor.DType;
import org.rlhf4j.tensor.Device;
import org.rlhf4j.tensor.Dropout;
import org.rlhf4j.tensor.Kernels;
import org.rlhf4j.tensor.LoraSegment;
import org.rlhf4j.tensor.PpoLossConfig;
import org.rlhf4j.tensor.Scope;
import org.rlhf4j.tensor.Tensor;
import org.rlhf4j.tensor.Weight;
import org.rlhf4j.testing.Close;
import org.rlhf4j.testing.TestDevice;

/**
 * Every op's backward against central differences of its forward. Values are f32, so the difference
 * quotient at step h has an error of about 1e-7/h from rounding and of h² from curvature: h = 1e-2
 * leaves some 1e-4 of values near 1, and a bound of 3e-3 a margin that no wrong formula fits into.
 * The native tests repeat this in double with a thousandth of that bound.
 */
class CentralDifferencesTest {
  private static final float STEP = 1e-2f;
  private static final double BOUND = 3e-3;

  private final Device device = TestDevice.open();
  private final Scope scope = device.scope();
  private final SplittableRandom random = new SplittableRandom(11);

  @AfterEach
  void close() {
    device.close();
  }

  private float[] normal(long n) {
    float[] x = new float[(int) n];
    for (int i = 0; i < n; i++) {
      x[i] = (float) (random.nextGaussian() * 0.7);
    }
    return x;
  }

  private Tensor tensor(long... shape) {
    long n = 1;
    for (long s : shape) {
      n *= s;
    }
    return scope.allocate(DType.F32, shape).copyFrom(normal(n));
  }

  private Parameter trainable(String name, long... shape) {
    Tensor value = tensor(shape);
    return new Parameter(name, value, value, scope.zeros(DType.F32, shape));
  }

  /** Checks the gradient of x, and of each parameter, element by element. */
  private void check(
      String what,
      long rows,
      long columns,
      BiFunction<Graph, Var, Var> f,
      Parameter... parameters) {
    Tensor x = tensor(rows, columns);
    float[] upstream;
    float[] gradX;
    for (Parameter p : parameters) {
      Kernels.fill(p.grad(), 0);
    }
    try (Graph g = Graph.training(device)) {
      Var leaf = g.leaf(x);
      Var y = f.apply(g, leaf);
      upstream = normal(y.value().elements());
      g.seed(y, g.scope().allocate(DType.F32, y.value().shape()).copyFrom(upstream));
      g.backward();
      gradX = leaf.grad().toFloats();
    }
    Close.check(what + " gradX", gradX, differences(f, x, x, upstream), BOUND, BOUND);
    for (Parameter p : parameters) {
      Close.check(
          what + " grad of " + p.name(),
          p.grad().toFloats(),
          differences(f, x, p.value(), upstream),
          BOUND,
          BOUND);
    }
  }

  private float[] differences(
      BiFunction<Graph, Var, Var> f, Tensor x, Tensor moved, float[] upstream) {
    float[] values = moved.toFloats();
    float[] gradient = new float[values.length];
    for (int i = 0; i < values.length; i++) {
      float kept = values[i];
      values[i] = kept + STEP;
      moved.copyFrom(values);
      double up = loss(f, x, upstream);
      values[i] = kept - STEP;
      moved.copyFrom(values);
      double down = loss(f, x, upstream);
      values[i] = kept;
      moved.copyFrom(values);
      gradient[i] = (float) ((up - down) / (2 * STEP));
    }
    return gradient;
  }

  private double loss(BiFunction<Graph, Var, Var> f, Tensor x, float[] upstream) {
    try (Graph g = Graph.inference(device)) {
      float[] y = f.apply(g, g.constant(x)).value().toFloats();
      double sum = 0;
      for (int i = 0; i < y.length; i++) {
        sum += (double) y[i] * upstream[i];
      }
      return sum;
    }
  }

  @Test
  void add() {
    Tensor other = tensor(3, 7);
    check("add", 3, 7, (g, x) -> Add.apply(g, x, Add.apply(g, g.constant(other), x)));
  }

  @Test
  void embedding() {
    Parameter table = trainable("table", 5, 7);
    Tensor ids = scope.of(4, 0, 4);
    check("embedding", 3, 7, (g, x) -> Add.apply(g, x, Embedding.apply(g, table, ids)), table);
  }

  @Test
  void gatherRows() {
    Tensor index = scope.of(4, 0, 4, 2);
    check("gather_rows", 5, 7, (g, x) -> GatherRows.apply(g, x, index));
  }

  @Test
  void rmsNorm() {
    Parameter w = trainable("w", 9);
    check("rms_norm", 3, 9, (g, x) -> RmsNorm.apply(g, x, w, 1e-5f, DType.F32), w);
  }

  @Test
  void layerNorm() {
    Parameter w = trainable("w", 9);
    Parameter b = trainable("bias", 9);
    check("layer_norm", 3, 9, (g, x) -> LayerNorm.apply(g, x, w, b, 1e-5f, DType.F32), w, b);
  }

  @Test
  void headNorm() {
    Attention.Heads heads = new Attention.Heads(3, 1, 6, 0);
    Parameter q = trainable("q", 6);
    Parameter k = trainable("k", 6);
    check(
        "head_norm", 2, heads.columns(), (g, x) -> HeadNorm.apply(g, x, heads, q, k, 1e-2f), q, k);
  }

  @Test
  void scale() {
    check("scale", 3, 14, (g, x) -> Scale.apply(g, x, -1.7f));
  }

  @Test
  void geluTanh() {
    check("gelu_tanh", 3, 14, GeluTanh::apply);
    check("gated gelu_tanh", 3, 14, GeluTanh::gated);
  }

  @Test
  void swiglu() {
    check("swiglu", 3, 14, Swiglu::apply);
  }

  @Test
  void linearWithBias() {
    Parameter w = trainable("w", 6, 9);
    Parameter bias = trainable("bias", 6);
    try (Weight weight = Weight.view(w.compute())) {
      check(
          "linear", 3, 9, (g, x) -> Linear.apply(g, x, weight, w.grad(), bias, List.of()), w, bias);
    }
  }

  @Test
  void linearWithLoraAndDropout() {
    Parameter a = trainable("a", 3, 9);
    Parameter b = trainable("b", 4, 3);
    try (Weight weight = Weight.pack(tensor(6, 9))) {
      // The adapter sits on columns 2 to 6 of rows 1 to 4 alone.
      Linear.Adapters lora =
          new Linear.Adapters(
              2,
              6,
              List.of(new LoraSegment(1, 4, 2, a.value(), b.value(), a.grad(), b.grad())),
              new Dropout(0.3f, 5, 6));
      check("lora", 5, 9, (g, x) -> Linear.apply(g, x, weight, null, null, List.of(lora)), a, b);
    }
  }

  @Test
  void attentionWithRope() {
    Attention.Heads heads = new Attention.Heads(4, 2, 6, 3);
    Tensor positions = scope.of(0, 1, 2, 3, 0, 1, 2);
    Tensor cu = scope.of(0, 4, 7);
    Tensor angles = scope.allocate(DType.F32, 7, 6);
    Kernels.ropeTable(
        angles, positions, scope.allocate(DType.F32, 2, 3).copyFrom(1f, 0.3f, 0.1f, 0f, 0f, 0f));
    check(
        "attention",
        7,
        heads.columns(),
        (g, x) -> {
          // Rotation is in place: the op gets a copy of its own.
          Var own = Add.apply(g, x, g.constant(g.scope().zeros(DType.F32, x.value().shape())));
          return Attention.apply(g, own, heads, angles, cu, null);
        });
  }

  @Test
  void headLogprobs() {
    Parameter w = trainable("w", 11, 6);
    Tensor targets = scope.of(10, 0, 3);
    try (Weight weight = Weight.view(w.compute())) {
      check(
          "head_logprob",
          3,
          6,
          (g, x) -> Head.logprobs(g, x, weight, w.grad(), targets, 0.8f).logp(),
          w);
    }
  }

  @Test
  void headCrossEntropy() {
    Tensor x = tensor(3, 6);
    Parameter w = trainable("w", 11, 6);
    Tensor targets = scope.of(10, -100, 3);
    try (Weight weight = Weight.view(w.compute())) {
      BiFunction<Graph, Var, Var> sum =
          (g, v) -> g.constant(Head.crossEntropy(g, v, weight, null, targets, 1).rows(0, 1));
      float[] gradX;
      try (Graph g = Graph.training(device)) {
        Var leaf = g.leaf(x);
        Head.crossEntropy(g, leaf, weight, w.grad(), targets, 1);
        gradX = leaf.grad().toFloats();
      }
      Close.check("gradX", gradX, differences(sum, x, x, new float[] {1}), BOUND, BOUND);
      Close.check(
          "gradW",
          w.grad().toFloats(),
          differences(sum, x, w.value(), new float[] {1}),
          BOUND,
          BOUND);
    }
  }

  @Test
  void headEntropyAndFullKl() {
    Tensor x = tensor(3, 6);
    Tensor xRef = tensor(3, 6);
    try (Weight w = Weight.pack(tensor(11, 6))) {
      Tensor targets = scope.of(1, 2, 3);
      Tensor logp = scope.allocate(DType.F32, 3);
      Tensor entropy = scope.allocate(DType.F32, 3);
      Tensor lse = scope.allocate(DType.F32, 3);
      Tensor gradX = scope.allocate(DType.F32, 3, 6);
      float[] upstream = normal(3);
      Kernels.headLogprob(logp, entropy, lse, x, w, targets, 1);
      Kernels.headLogprobBackward(
          gradX,
          null,
          scope.zeros(DType.F32, 3),
          scope.of(upstream),
          x,
          w,
          targets,
          lse,
          entropy,
          1);
      Close.check(
          "entropy",
          gradX.toFloats(),
          differences(
              (g, v) -> g.constant(Head.logprobs(g, v, w, null, targets, 1).entropy()),
              x,
              x,
              upstream),
          BOUND,
          BOUND);

      Tensor kl = scope.allocate(DType.F32, 3);
      Tensor lseRef = scope.allocate(DType.F32, 3);
      Kernels.headFullKl(kl, lse, lseRef, x, w, xRef, w, 1);
      Kernels.headFullKlBackward(
          gradX, null, scope.of(upstream), x, w, xRef, w, lse, lseRef, kl, 1);
      Close.check(
          "full KL",
          gradX.toFloats(),
          differences((g, v) -> g.constant(Head.fullKl(g, v.value(), xRef, w, 1)), x, x, upstream),
          BOUND,
          BOUND);
    }
  }

  @Test
  void scalarHead() {
    Parameter w = trainable("w", 1, 9);
    Parameter bias = trainable("bias", 1);
    check("scalar_head", 3, 9, (g, x) -> ScalarHead.apply(g, x, w, bias), w, bias);
  }

  @Test
  void ppoLoss() {
    int n = 12;
    Tensor old = tensor(n);
    Tensor oldValues = tensor(n);
    Tensor advantages = tensor(n);
    Tensor returns = tensor(n);
    Tensor logp = scope.allocate(DType.F32, n).copyFrom(moved(old.toFloats(), 0.6f));
    Tensor values = scope.allocate(DType.F32, n).copyFrom(moved(oldValues.toFloats(), 0.6f));
    PpoLossConfig config = new PpoLossConfig(0.2f, 0.2f, 0.5f, 0, 0, 0, 1);
    Tensor stats = scope.allocate(DType.F32, 16);
    Tensor gradLogp = scope.allocate(DType.F32, n);
    Tensor gradValues = scope.allocate(DType.F32, n);
    Runnable run =
        () ->
            Kernels.ppoLoss(
                stats,
                gradLogp,
                gradValues,
                logp,
                values,
                null,
                old,
                oldValues,
                advantages,
                returns,
                null,
                config);
    run.run();
    float[] gl = gradLogp.toFloats();
    float[] gv = gradValues.toFloats();
    // No element lies within a step of where the clipping begins: the loss is smooth around each.
    Close.check("gradLogp", gl, slopes(logp, run, stats), BOUND, BOUND);
    Close.check("gradValues", gv, slopes(values, run, stats), BOUND, BOUND);
  }

  private float[] moved(float[] from, float by) {
    float[] to = from.clone();
    for (int i = 0; i < to.length; i++) {
      to[i] += (i % 3 - 1) * by + 0.05f;
    }
    return to;
  }

  private static float[] slopes(Tensor x, Runnable run, Tensor stats) {
    float[] values = x.toFloats();
    float[] gradient = new float[values.length];
    for (int i = 0; i < values.length; i++) {
      float kept = values[i];
      values[i] = kept + STEP;
      x.copyFrom(values);
      run.run();
      double up = stats.toFloats()[2];
      values[i] = kept - STEP;
      x.copyFrom(values);
      run.run();
      double down = stats.toFloats()[2];
      values[i] = kept;
      x.copyFrom(values);
      gradient[i] = (float) ((up - down) / (2 * STEP));
    }
    return gradient;
  }

  @Test
  void pairwiseLoss() {
    Tensor chosen = tensor(5);
    Tensor rejected = tensor(5);
    Tensor margin = tensor(5);
    Tensor stats = scope.allocate(DType.F32, 4);
    Tensor gc = scope.allocate(DType.F32, 5);
    Tensor gr = scope.allocate(DType.F32, 5);
    Kernels.pairwiseLoss(stats, gc, gr, chosen, rejected, margin, 0.1f, 1);
    float[] wantChosen = gc.toFloats();
    float[] values = chosen.toFloats();
    for (int i = 0; i < values.length; i++) {
      float kept = values[i];
      values[i] = kept + STEP;
      Kernels.pairwiseLoss(stats, gc, gr, chosen.copyFrom(values), rejected, margin, 0.1f, 1);
      double up = stats.toFloats()[0];
      values[i] = kept - STEP;
      Kernels.pairwiseLoss(stats, gc, gr, chosen.copyFrom(values), rejected, margin, 0.1f, 1);
      double down = stats.toFloats()[0];
      values[i] = kept;
      chosen.copyFrom(values);
      Close.check("gradChosen[" + i + "]", wantChosen[i], (up - down) / (2 * STEP), BOUND, BOUND);
    }
  }

  @Test
  void aGraphForValuesKeepsNoGradients() {
    try (Graph g = Graph.inference(device)) {
      Var x = g.leaf(tensor(2, 4));
      Var y = Swiglu.apply(g, x);
      g.seed(y, y.value());
      g.backward();
      assertNull(x.grad());
    }
  }
}
