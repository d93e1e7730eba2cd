package org.rlhf4j.graph;

import static org.junit.jupiter.api.DynamicTest.dynamicTest;

import com.fasterxml.jackson.databind.JsonNode;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.TestFactory;
import org.rlhf4j.checkpoint.SafetensorsFile;
import org.rlhf4j.nn.families.Families;
import org.rlhf4j.tensor.AdamWConfig;
import org.rlhf4j.tensor.DType;
import org.rlhf4j.tensor.Device;
import org.rlhf4j.tensor.Dropout;
import org.rlhf4j.tensor.Kernels;
import org.rlhf4j.tensor.Lora;
import org.rlhf4j.tensor.LoraSegment;
import org.rlhf4j.tensor.Scope;
import org.rlhf4j.tensor.Tensor;
import org.rlhf4j.tensor.Weight;
import org.rlhf4j.testing.Close;
import org.rlhf4j.testing.Golden;
import org.rlhf4j.testing.TestDevice;

/**
 * Every op, forward and backward, against values made with PyTorch in float64; in f32, and in bf16
 * where activations may be.
 */
class GoldenOpsTest {
  /** One case: its tensors by name, brought to the device in a dtype. */
  private static final class Case implements AutoCloseable {
    final Device device = TestDevice.open();
    final Scope scope = device.scope();
    final SafetensorsFile file = Golden.tensors("ops.safetensors");
    final JsonNode attributes;
    final String name;
    final DType dtype;

    Case(String name, DType dtype) {
      this.name = name;
      this.dtype = dtype;
      attributes = Golden.json("ops.json").path(name);
    }

    float[] floats(String tensor) {
      return Golden.floats(file, name + "/" + tensor);
    }

    boolean has(String tensor) {
      return file.tensors().containsKey(name + "/" + tensor);
    }

    long[] shape(String tensor) {
      return file.tensor(name + "/" + tensor).shape();
    }

    /** An activation, in the case's dtype. */
    Tensor in(String tensor) {
      Tensor f32 = f32(tensor);
      if (dtype == DType.F32) {
        return f32;
      }
      Tensor t = scope.allocate(dtype, f32.shape());
      Kernels.copy(t, f32);
      return t;
    }

    Tensor f32(String tensor) {
      return scope.allocate(DType.F32, shape(tensor)).copyFrom(floats(tensor));
    }

    Tensor ints(String tensor) {
      return scope
          .allocate(DType.I32, shape(tensor))
          .copyFrom(Golden.ints(file, name + "/" + tensor));
    }

    Tensor out(long... shape) {
      return scope.allocate(dtype, shape);
    }

    Tensor zeros(String like) {
      return scope.zeros(DType.F32, shape(like));
    }

    void check(String tensor, Tensor got) {
      float[] want = floats(tensor);
      String what = name + "/" + tensor + " " + dtype;
      if (dtype == DType.BF16) {
        Close.bf16(what, got.toFloats(), want, 2e-2);
      } else if (tensor.startsWith("grad")) {
        Close.gradient(what, got.toFloats(), want);
      } else {
        Close.op(what, got.toFloats(), want);
      }
    }

    @Override
    public void close() {
      scope.close();
      device.close();
      file.close();
    }
  }

  private interface Body {
    void run(Case c);
  }

  private static Stream<DynamicTest> cases(String op, Body body, DType... dtypes) {
    List<DynamicTest> tests = new ArrayList<>();
    Golden.json("ops.json")
        .fieldNames()
        .forEachRemaining(
            name -> {
              if (name.equals(op) || name.startsWith(op + ".")) {
                for (DType dtype : dtypes) {
                  tests.add(
                      dynamicTest(
                          name + " " + dtype,
                          () -> {
                            try (Case c = new Case(name, dtype)) {
                              body.run(c);
                            }
                          }));
                }
              }
            });
    if (tests.isEmpty()) {
      throw new IllegalStateException("golden has no case of " + op);
    }
    return tests.stream();
  }

  @TestFactory
  Stream<DynamicTest> rmsNorm() {
    return cases(
        "rms_norm",
        c -> {
          float eps = (float) c.attributes.path("eps").asDouble();
          Tensor x = c.in("x");
          Tensor w = c.f32("w");
          Tensor y = c.out(x.shape());
          Kernels.rmsNorm(y, x, w, eps);
          c.check("y", y);
          Tensor gradX = c.out(x.shape());
          Tensor gradW = c.zeros("w");
          Kernels.rmsNormBackward(gradX, gradW, c.in("grad_y"), x, w, eps);
          c.check("grad_x", gradX);
          c.check("grad_w", gradW);
        },
        DType.F32,
        DType.BF16);
  }

  @TestFactory
  Stream<DynamicTest> layerNorm() {
    return cases(
        "layer_norm",
        c -> {
          float eps = (float) c.attributes.path("eps").asDouble();
          Tensor x = c.in("x");
          Tensor w = c.f32("w");
          Tensor y = c.out(x.shape());
          Kernels.layerNorm(y, x, w, c.f32("b"), eps);
          c.check("y", y);
          Tensor gradX = c.out(x.shape());
          Tensor gradW = c.zeros("w");
          Tensor gradB = c.zeros("b");
          Kernels.layerNormBackward(gradX, gradW, gradB, c.in("grad_y"), x, w, eps);
          c.check("grad_x", gradX);
          c.check("grad_w", gradW);
          c.check("grad_b", gradB);
        },
        DType.F32,
        DType.BF16);
  }

  @TestFactory
  Stream<DynamicTest> geluTanh() {
    return cases(
        "gelu_tanh",
        c -> {
          Tensor x = c.in("x");
          Tensor y = c.out(x.shape());
          Kernels.geluTanh(y, x, null);
          c.check("y", y);
          Tensor gradX = c.out(x.shape());
          Kernels.geluTanhBackward(gradX, null, c.in("grad_y"), x, null);
          c.check("grad_x", gradX);
        },
        DType.F32,
        DType.BF16);
  }

  @TestFactory
  Stream<DynamicTest> swiglu() {
    return cases(
        "swiglu",
        c -> {
          Tensor gate = c.in("gate");
          Tensor up = c.in("up");
          Tensor y = c.out(gate.shape());
          Kernels.swiglu(y, gate, up);
          c.check("y", y);
          Tensor gradGate = c.out(gate.shape());
          Tensor gradUp = c.out(gate.shape());
          Kernels.swigluBackward(gradGate, gradUp, c.in("grad_y"), gate, up);
          c.check("grad_gate", gradGate);
          c.check("grad_up", gradUp);
        },
        DType.F32,
        DType.BF16);
  }

  @TestFactory
  Stream<DynamicTest> rope() {
    return cases(
        "rope",
        c -> {
          Tensor x = c.in("x");
          Tensor positions = c.ints("positions");
          Tensor invFreq = c.scope.allocate(DType.F32, 2, x.size(2) / 2);
          invFreq.copyFrom(inverseFrequencies(c.attributes, (int) x.size(2)));
          Tensor table = c.scope.allocate(DType.F32, x.size(0), x.size(2));
          Kernels.ropeTable(table, positions, invFreq);
          Tensor y = c.out(x.shape());
          Kernels.rope(y, x, table, false);
          c.check("y", y);
          Tensor gradX = c.out(x.shape());
          Kernels.rope(gradX, c.in("grad_y"), table, true);
          c.check("grad_x", gradX);
        },
        DType.F32,
        DType.BF16);
  }

  private static float[] inverseFrequencies(JsonNode attributes, int headSize) {
    com.fasterxml.jackson.databind.node.ObjectNode config =
        org.rlhf4j.json.Json.MAPPER.createObjectNode();
    config.put("model_type", "llama").put("hidden_size", headSize).put("num_attention_heads", 1);
    config
        .put("head_dim", headSize)
        .put("vocab_size", 1)
        .put("intermediate_size", 1)
        .put("num_hidden_layers", 1);
    com.fasterxml.jackson.databind.node.ObjectNode rope = config.putObject("rope_parameters");
    if (attributes.path("scaling").isObject()) {
      rope.setAll((com.fasterxml.jackson.databind.node.ObjectNode) attributes.get("scaling"));
      rope.put("rope_type", "llama3");
    }
    rope.put("rope_theta", attributes.path("theta").asDouble());
    return Families.config(config, "test").ropes().get(0).parts();
  }

  @TestFactory
  Stream<DynamicTest> attention() {
    return cases(
        "attention",
        c -> {
          Tensor q = c.in("q");
          Tensor k = c.in("k");
          Tensor v = c.in("v");
          Tensor cu = c.ints("cu_seqlens");
          float scale = (float) (1 / Math.sqrt(q.size(2)));
          int window = c.attributes.path("window").asInt();
          Tensor o = c.out(q.shape());
          Tensor lse = c.scope.allocate(DType.F32, q.size(1), q.size(0));
          Kernels.attention(o, lse, q, k, v, cu, scale, window);
          c.check("y", o);
          Tensor gradQ = c.out(q.shape());
          Tensor gradK = c.out(k.shape());
          Tensor gradV = c.out(v.shape());
          Kernels.attentionBackward(
              gradQ, gradK, gradV, c.in("grad_y"), o, lse, q, k, v, cu, scale, window);
          c.check("grad_q", gradQ);
          c.check("grad_k", gradK);
          c.check("grad_v", gradV);
        },
        DType.F32,
        DType.BF16);
  }

  @TestFactory
  Stream<DynamicTest> headLogprob() {
    return cases(
        "head_logprob",
        c -> {
          Tensor x = c.in("x");
          try (Weight w = Weight.view(c.in("w"))) {
            Tensor targets = c.ints("target");
            Tensor y = c.scope.allocate(DType.F32, x.size(0));
            Tensor lse = c.scope.allocate(DType.F32, x.size(0));
            Kernels.headLogprob(y, null, lse, x, w, targets, 1);
            c.check("y", y);
            Tensor gradX = c.out(x.shape());
            Tensor gradW = c.zeros("w");
            Kernels.headLogprobBackward(
                gradX, gradW, c.f32("grad_y"), null, x, w, targets, lse, null, 1);
            c.check("grad_x", gradX);
            c.check("grad_w", gradW);
          }
        },
        DType.F32,
        DType.BF16);
  }

  @TestFactory
  Stream<DynamicTest> headEntropy() {
    return cases(
        "head_entropy",
        c -> {
          Tensor x = c.in("x");
          try (Weight w = Weight.pack(c.in("w"))) {
            long n = x.size(0);
            Tensor targets = c.scope.zeros(DType.I32, n);
            Tensor logp = c.scope.allocate(DType.F32, n);
            Tensor entropy = c.scope.allocate(DType.F32, n);
            Tensor lse = c.scope.allocate(DType.F32, n);
            Kernels.headLogprob(logp, entropy, lse, x, w, targets, 1);
            c.check("y", entropy);
            Tensor gradX = c.out(x.shape());
            Tensor gradW = c.zeros("w");
            Tensor none = c.scope.zeros(DType.F32, n);
            Kernels.headLogprobBackward(
                gradX, gradW, none, c.f32("grad_y"), x, w, targets, lse, entropy, 1);
            c.check("grad_x", gradX);
            c.check("grad_w", gradW);
          }
        },
        DType.F32,
        DType.BF16);
  }

  @TestFactory
  Stream<DynamicTest> headFullKl() {
    return cases(
        "head_full_kl",
        c -> {
          Tensor x = c.in("x");
          Tensor xRef = c.in("x_ref");
          try (Weight w = Weight.pack(c.in("w"));
              Weight wRef = Weight.pack(c.in("w_ref"))) {
            long n = x.size(0);
            Tensor kl = c.scope.allocate(DType.F32, n);
            Tensor lse = c.scope.allocate(DType.F32, n);
            Tensor lseRef = c.scope.allocate(DType.F32, n);
            Kernels.headFullKl(kl, lse, lseRef, x, w, xRef, wRef, 1);
            c.check("y", kl);
            Tensor gradX = c.out(x.shape());
            Tensor gradW = c.zeros("w");
            Kernels.headFullKlBackward(
                gradX, gradW, c.f32("grad_y"), x, w, xRef, wRef, lse, lseRef, kl, 1);
            c.check("grad_x", gradX);
            c.check("grad_w", gradW);
          }
        },
        DType.F32,
        DType.BF16);
  }

  @TestFactory
  Stream<DynamicTest> headCrossEntropy() {
    return cases(
        "head_cross_entropy",
        c -> {
          Tensor x = c.in("x");
          try (Weight w = Weight.view(c.in("w"))) {
            Tensor targets = c.ints("target");
            int counted = 0;
            for (int t : targets.toInts()) {
              counted += t == -100 ? 0 : 1;
            }
            float upstream = c.floats("grad_y")[0];
            Tensor loss = c.scope.allocate(DType.F32, 2);
            Tensor gradX = c.out(x.shape());
            Tensor gradW = c.zeros("w");
            Kernels.headCrossEntropy(loss, gradX, gradW, x, w, targets, upstream / counted);
            float[] sums = loss.toFloats();
            Close.check("count", sums[1], counted, 0, 0);
            c.check("y", c.scope.of(sums[0] / sums[1]));
            c.check("grad_x", gradX);
            c.check("grad_w", gradW);
          }
        },
        DType.F32,
        DType.BF16);
  }

  @TestFactory
  Stream<DynamicTest> loraLinear() {
    return cases(
        "lora_linear",
        c -> {
          // The mask of golden stands outside the op: x of the adapter's half is x * mask, and its
          // gradient is masked again.
          Tensor x = c.in("x");
          Tensor masked = times(c, x, c.f32("mask"));
          Tensor a = c.f32("a");
          Tensor b = c.f32("b");
          Tensor gradY = c.in("grad_y");
          float scale =
              (float) c.attributes.path("alpha").asDouble() / c.attributes.path("r").asInt();
          try (Weight w = Weight.pack(c.in("w"));
              Weight none = Weight.pack(zeros(c, c.in("w")))) {
            Tensor y = c.out(gradY.shape());
            Tensor ofAdapter = c.out(gradY.shape());
            Tensor h = c.scope.allocate(DType.F32, x.size(0), a.size(0));
            Tensor gradA = c.zeros("a");
            Tensor gradB = c.zeros("b");
            LoraSegment all = new LoraSegment(0, x.size(0), scale, a, b, gradA, gradB);
            List<Lora> loras = List.of(new Lora(0, w.out(), h, List.of(all), Dropout.NONE));
            Kernels.linear(y, x, w, null, false);
            Kernels.loraLinear(ofAdapter, masked, none, null, loras);
            Kernels.add(y, y, ofAdapter);
            c.check("y", y);
            Tensor gradX = c.out(x.shape());
            Tensor gradMasked = c.scope.zeros(c.dtype, x.shape());
            Kernels.linearBackwardInput(gradX, gradY, w, false);
            Kernels.loraLinearBackward(gradMasked, gradY, masked, none, loras);
            Kernels.add(gradX, gradX, times(c, gradMasked, c.f32("mask")));
            c.check("grad_x", gradX);
            c.check("grad_a", gradA);
            c.check("grad_b", gradB);
          }
        },
        DType.F32,
        DType.BF16);
  }

  private static Tensor zeros(Case c, Tensor like) {
    return c.scope.zeros(c.dtype, like.shape());
  }

  private static Tensor times(Case c, Tensor x, Tensor mask) {
    float[] xs = x.toFloats();
    float[] ms = mask.toFloats();
    for (int i = 0; i < xs.length; i++) {
      xs[i] *= ms[i];
    }
    Tensor product = c.scope.allocate(DType.F32, x.shape()).copyFrom(xs);
    Tensor cast = c.out(x.shape());
    Kernels.copy(cast, product);
    return cast;
  }

  @TestFactory
  Stream<DynamicTest> loraSegmented() {
    return cases(
        "lora_segmented",
        c -> {
          Tensor x = c.in("x");
          Tensor gradY = c.in("grad_y");
          Tensor a = c.f32("a"); // [adapters, r, in]
          Tensor b = c.f32("b");
          Tensor gradA = c.zeros("a");
          Tensor gradB = c.zeros("b");
          float scale =
              (float) c.attributes.path("alpha").asDouble() / c.attributes.path("r").asInt();
          int[] adapter = c.ints("adapter_of_row").toInts();
          List<LoraSegment> segments = new ArrayList<>();
          for (int from = 0; from < adapter.length; ) {
            int to = from;
            while (to < adapter.length && adapter[to] == adapter[from]) {
              to++;
            }
            int i = adapter[from];
            if (i >= 0) {
              segments.add(
                  new LoraSegment(
                      from, to, scale, slice(a, i), slice(b, i), slice(gradA, i), slice(gradB, i)));
            }
            from = to;
          }
          try (Weight w = Weight.view(c.in("w"))) {
            Tensor y = c.out(gradY.shape());
            Tensor h = c.scope.allocate(DType.F32, x.size(0), a.size(1));
            List<Lora> loras = List.of(new Lora(0, w.out(), h, segments, Dropout.NONE));
            Kernels.loraLinear(y, x, w, null, loras);
            c.check("y", y);
            Tensor gradX = c.out(x.shape());
            Kernels.loraLinearBackward(gradX, gradY, x, w, loras);
            c.check("grad_x", gradX);
            c.check("grad_a", gradA);
            c.check("grad_b", gradB);
          }
        },
        DType.F32,
        DType.BF16);
  }

  private static Tensor slice(Tensor stacked, int i) {
    return stacked.rows(i, i + 1).reshape(stacked.size(1), stacked.size(2));
  }

  @TestFactory
  Stream<DynamicTest> adamw() {
    return cases(
        "adamw",
        c -> {
          JsonNode j = c.attributes;
          Tensor p = c.f32("p0");
          Tensor m = c.zeros("p0");
          Tensor v = c.zeros("p0");
          Tensor norm = c.scope.allocate(DType.F32, 1);
          for (int step = 1; c.has("g" + step); step++) {
            Tensor g = c.f32("g" + step);
            Kernels.gradNorm(norm, g);
            c.check("norm" + step, norm);
            Kernels.adamw(
                p,
                null,
                m,
                v,
                g,
                norm,
                new AdamWConfig(
                    (float) j.path("lr").asDouble(),
                    (float) j.path("beta1").asDouble(),
                    (float) j.path("beta2").asDouble(),
                    (float) j.path("eps").asDouble(),
                    (float) j.path("weight_decay").asDouble(),
                    (float) j.path("max_grad_norm").asDouble(),
                    step,
                    p.elements()));
            c.check("p" + step, p);
          }
        },
        DType.F32);
  }
}
