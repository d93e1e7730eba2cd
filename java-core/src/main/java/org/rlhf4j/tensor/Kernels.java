package org.rlhf4j.tensor;

import java.lang.foreign.MemorySegment;
import java.util.List;
import org.rlhf4j.bindings.Native;
import org.rlhf4j.bindings.c.Rlhf4j;
import org.rlhf4j.bindings.c.rl_dropout;
import org.rlhf4j.bindings.c.rl_lora;
import org.rlhf4j.bindings.c.rl_lora_segment;

/**
 * The ops of the C ABI, one method for each, named as there: shapes, dtypes and formulas stand in
 * {@code rlhf4j.h}. Wrong arguments are a {@link org.rlhf4j.bindings.NativeException} that names
 * op, argument, expected and found.
 */
public final class Kernels {
  private Kernels() {}

  /** {@code rl_copy}. */
  public static void copy(Tensor y, Tensor x) {
    Frame f = Frame.begin();
    Native.check(Rlhf4j.rl_copy(f.tensor(y), f.tensor(x)));
  }

  /** {@code rl_fill}. */
  public static void fill(Tensor y, double value) {
    Frame f = Frame.begin();
    Native.check(Rlhf4j.rl_fill(f.tensor(y), value));
  }

  /** {@code rl_add}. */
  public static void add(Tensor y, Tensor a, Tensor b) {
    Frame f = Frame.begin();
    Native.check(Rlhf4j.rl_add(f.tensor(y), f.tensor(a), f.tensor(b)));
  }

  /** {@code rl_scale}. */
  public static void scale(Tensor y, Tensor x, float factor) {
    Frame f = Frame.begin();
    Native.check(Rlhf4j.rl_scale(f.tensor(y), f.tensor(x), factor));
  }

  /** {@code rl_embedding}. */
  public static void embedding(Tensor y, Tensor w, Tensor ids) {
    Frame f = Frame.begin();
    Native.check(Rlhf4j.rl_embedding(f.tensor(y), f.tensor(w), f.tensor(ids)));
  }

  /** {@code rl_embedding_backward}. */
  public static void embeddingBackward(Tensor gradW, Tensor gradY, Tensor ids) {
    Frame f = Frame.begin();
    Native.check(Rlhf4j.rl_embedding_backward(f.tensor(gradW), f.tensor(gradY), f.tensor(ids)));
  }

  /** {@code rl_weight_rows}. */
  public static void weightRows(Tensor y, Weight w, Tensor ids) {
    Frame f = Frame.begin();
    Native.check(Rlhf4j.rl_weight_rows(f.tensor(y), w.handle(), f.tensor(ids)));
  }

  /** {@code rl_gather_rows}. */
  public static void gatherRows(Tensor y, Tensor x, Tensor index) {
    Frame f = Frame.begin();
    Native.check(Rlhf4j.rl_gather_rows(f.tensor(y), f.tensor(x), f.tensor(index)));
  }

  /** {@code rl_gather_rows_backward}. */
  public static void gatherRowsBackward(Tensor gradX, Tensor gradY, Tensor index) {
    Frame f = Frame.begin();
    Native.check(Rlhf4j.rl_gather_rows_backward(f.tensor(gradX), f.tensor(gradY), f.tensor(index)));
  }

  /** {@code rl_rms_norm}. */
  public static void rmsNorm(Tensor y, Tensor x, Tensor w, float eps) {
    Frame f = Frame.begin();
    Native.check(Rlhf4j.rl_rms_norm(f.tensor(y), f.tensor(x), f.tensor(w), eps));
  }

  /** {@code rl_rms_norm_backward}. */
  public static void rmsNormBackward(
      Tensor gradX, Tensor gradW, Tensor gradY, Tensor x, Tensor w, float eps) {
    Frame f = Frame.begin();
    Native.check(
        Rlhf4j.rl_rms_norm_backward(
            f.tensor(gradX), f.tensor(gradW), f.tensor(gradY), f.tensor(x), f.tensor(w), eps));
  }

  /** {@code rl_layer_norm}. */
  public static void layerNorm(Tensor y, Tensor x, Tensor w, Tensor bias, float eps) {
    Frame f = Frame.begin();
    Native.check(Rlhf4j.rl_layer_norm(f.tensor(y), f.tensor(x), f.tensor(w), f.tensor(bias), eps));
  }

  /** {@code rl_layer_norm_backward}. */
  public static void layerNormBackward(
      Tensor gradX, Tensor gradW, Tensor gradBias, Tensor gradY, Tensor x, Tensor w, float eps) {
    Frame f = Frame.begin();
    Native.check(
        Rlhf4j.rl_layer_norm_backward(
            f.tensor(gradX),
            f.tensor(gradW),
            f.tensor(gradBias),
            f.tensor(gradY),
            f.tensor(x),
            f.tensor(w),
            eps));
  }

  /** {@code rl_rope_table}. */
  public static void ropeTable(Tensor table, Tensor positions, Tensor invFreq) {
    Frame f = Frame.begin();
    Native.check(Rlhf4j.rl_rope_table(f.tensor(table), f.tensor(positions), f.tensor(invFreq)));
  }

  /** {@code rl_rope}. */
  public static void rope(Tensor y, Tensor x, Tensor table, boolean inverse) {
    Frame f = Frame.begin();
    Native.check(Rlhf4j.rl_rope(f.tensor(y), f.tensor(x), f.tensor(table), inverse ? 1 : 0));
  }

  /** {@code rl_swiglu}. */
  public static void swiglu(Tensor y, Tensor gate, Tensor up) {
    Frame f = Frame.begin();
    Native.check(Rlhf4j.rl_swiglu(f.tensor(y), f.tensor(gate), f.tensor(up)));
  }

  /** {@code rl_swiglu_backward}. */
  public static void swigluBackward(
      Tensor gradGate, Tensor gradUp, Tensor gradY, Tensor gate, Tensor up) {
    Frame f = Frame.begin();
    Native.check(
        Rlhf4j.rl_swiglu_backward(
            f.tensor(gradGate), f.tensor(gradUp), f.tensor(gradY), f.tensor(gate), f.tensor(up)));
  }

  /** {@code rl_gelu_tanh}; {@code up} may be null. */
  public static void geluTanh(Tensor y, Tensor x, Tensor up) {
    Frame f = Frame.begin();
    Native.check(Rlhf4j.rl_gelu_tanh(f.tensor(y), f.tensor(x), f.tensor(up)));
  }

  /** {@code rl_gelu_tanh_backward}; {@code gradUp} and {@code up} may both be null. */
  public static void geluTanhBackward(
      Tensor gradX, Tensor gradUp, Tensor gradY, Tensor x, Tensor up) {
    Frame f = Frame.begin();
    Native.check(
        Rlhf4j.rl_gelu_tanh_backward(
            f.tensor(gradX), f.tensor(gradUp), f.tensor(gradY), f.tensor(x), f.tensor(up)));
  }

  /** {@code rl_linear}. */
  public static void linear(Tensor y, Tensor x, Weight weight, Tensor bias, boolean accumulate) {
    Frame f = Frame.begin();
    Native.check(
        Rlhf4j.rl_linear(
            f.tensor(y), f.tensor(x), weight.handle(), f.tensor(bias), accumulate ? 1 : 0));
  }

  /** {@code rl_linear_backward_input}. */
  public static void linearBackwardInput(
      Tensor gradX, Tensor gradY, Weight weight, boolean accumulate) {
    Frame f = Frame.begin();
    Native.check(
        Rlhf4j.rl_linear_backward_input(
            f.tensor(gradX), f.tensor(gradY), weight.handle(), accumulate ? 1 : 0));
  }

  /** {@code rl_linear_backward_weight}. */
  public static void linearBackwardWeight(Tensor gradW, Tensor gradBias, Tensor gradY, Tensor x) {
    Frame f = Frame.begin();
    Native.check(
        Rlhf4j.rl_linear_backward_weight(
            f.tensor(gradW), f.tensor(gradBias), f.tensor(gradY), f.tensor(x)));
  }

  /** {@code rl_nf4_quantize}. */
  public static void nf4Quantize(Nf4 y, Tensor w) {
    Frame f = Frame.begin();
    Native.check(Rlhf4j.rl_nf4_quantize(f.nf4(List.of(y)), f.tensor(w)));
  }

  /** {@code rl_nf4_dequantize}. */
  public static void nf4Dequantize(Tensor w, Nf4 x) {
    Frame f = Frame.begin();
    Native.check(Rlhf4j.rl_nf4_dequantize(f.tensor(w), f.nf4(List.of(x))));
  }

  /** {@code rl_lora_linear}. */
  public static void loraLinear(Tensor y, Tensor x, Weight weight, Tensor bias, List<Lora> loras) {
    Frame f = Frame.begin();
    Native.check(
        Rlhf4j.rl_lora_linear(
            f.tensor(y),
            f.tensor(x),
            weight.handle(),
            f.tensor(bias),
            loras(f, loras),
            loras.size()));
  }

  /** {@code rl_lora_linear_backward}. */
  public static void loraLinearBackward(
      Tensor gradX, Tensor gradY, Tensor x, Weight weight, List<Lora> loras) {
    Frame f = Frame.begin();
    Native.check(
        Rlhf4j.rl_lora_linear_backward(
            f.tensor(gradX),
            f.tensor(gradY),
            f.tensor(x),
            weight.handle(),
            loras(f, loras),
            loras.size()));
  }

  /** {@code rl_dropout_apply}. */
  public static void dropoutApply(Tensor y, Tensor x, Dropout dropout) {
    Frame f = Frame.begin();
    Native.check(Rlhf4j.rl_dropout_apply(f.tensor(y), f.tensor(x), dropout(f, dropout)));
  }

  /** {@code rl_attention}. */
  public static void attention(
      Tensor o,
      Tensor lse,
      Tensor q,
      Tensor k,
      Tensor v,
      Tensor cuSeqlens,
      float scale,
      int window) {
    Frame f = Frame.begin();
    Native.check(
        Rlhf4j.rl_attention(
            f.tensor(o),
            f.tensor(lse),
            f.tensor(q),
            f.tensor(k),
            f.tensor(v),
            f.tensor(cuSeqlens),
            scale,
            window));
  }

  /** {@code rl_attention_backward}. */
  public static void attentionBackward(
      Tensor gradQ,
      Tensor gradK,
      Tensor gradV,
      Tensor gradO,
      Tensor o,
      Tensor lse,
      Tensor q,
      Tensor k,
      Tensor v,
      Tensor cuSeqlens,
      float scale,
      int window) {
    Frame f = Frame.begin();
    Native.check(
        Rlhf4j.rl_attention_backward(
            f.tensor(gradQ),
            f.tensor(gradK),
            f.tensor(gradV),
            f.tensor(gradO),
            f.tensor(o),
            f.tensor(lse),
            f.tensor(q),
            f.tensor(k),
            f.tensor(v),
            f.tensor(cuSeqlens),
            scale,
            window));
  }

  /** {@code rl_kv_append}. */
  public static void kvAppend(
      Tensor cacheK, Tensor cacheV, Tensor k, Tensor v, Tensor slots, Tensor positions) {
    Frame f = Frame.begin();
    Native.check(
        Rlhf4j.rl_kv_append(
            f.tensor(cacheK),
            f.tensor(cacheV),
            f.tensor(k),
            f.tensor(v),
            f.tensor(slots),
            f.tensor(positions)));
  }

  /** {@code rl_attention_decode}. */
  public static void attentionDecode(
      Tensor o,
      Tensor q,
      Tensor cacheK,
      Tensor cacheV,
      Tensor slots,
      Tensor lengths,
      float scale,
      int window) {
    Frame f = Frame.begin();
    Native.check(
        Rlhf4j.rl_attention_decode(
            f.tensor(o),
            f.tensor(q),
            f.tensor(cacheK),
            f.tensor(cacheV),
            f.tensor(slots),
            f.tensor(lengths),
            scale,
            window));
  }

  /** {@code rl_head_logprob}. */
  public static void headLogprob(
      Tensor logp,
      Tensor entropy,
      Tensor lse,
      Tensor x,
      Weight weight,
      Tensor targets,
      float temperature) {
    Frame f = Frame.begin();
    Native.check(
        Rlhf4j.rl_head_logprob(
            f.tensor(logp),
            f.tensor(entropy),
            f.tensor(lse),
            f.tensor(x),
            weight.handle(),
            f.tensor(targets),
            temperature));
  }

  /** {@code rl_head_logprob_backward}. */
  public static void headLogprobBackward(
      Tensor gradX,
      Tensor gradW,
      Tensor gradLogp,
      Tensor gradEntropy,
      Tensor x,
      Weight weight,
      Tensor targets,
      Tensor lse,
      Tensor entropy,
      float temperature) {
    Frame f = Frame.begin();
    Native.check(
        Rlhf4j.rl_head_logprob_backward(
            f.tensor(gradX),
            f.tensor(gradW),
            f.tensor(gradLogp),
            f.tensor(gradEntropy),
            f.tensor(x),
            weight.handle(),
            f.tensor(targets),
            f.tensor(lse),
            f.tensor(entropy),
            temperature));
  }

  /** {@code rl_head_cross_entropy}. */
  public static void headCrossEntropy(
      Tensor loss,
      Tensor gradX,
      Tensor gradW,
      Tensor x,
      Weight weight,
      Tensor targets,
      float gradScale) {
    Frame f = Frame.begin();
    Native.check(
        Rlhf4j.rl_head_cross_entropy(
            f.tensor(loss),
            f.tensor(gradX),
            f.tensor(gradW),
            f.tensor(x),
            weight.handle(),
            f.tensor(targets),
            gradScale));
  }

  /** {@code rl_head_full_kl}. */
  public static void headFullKl(
      Tensor kl,
      Tensor lse,
      Tensor lseRef,
      Tensor x,
      Weight weight,
      Tensor xRef,
      Weight weightRef,
      float temperature) {
    Frame f = Frame.begin();
    Native.check(
        Rlhf4j.rl_head_full_kl(
            f.tensor(kl),
            f.tensor(lse),
            f.tensor(lseRef),
            f.tensor(x),
            weight.handle(),
            f.tensor(xRef),
            weightRef.handle(),
            temperature));
  }

  /** {@code rl_head_full_kl_backward}. */
  public static void headFullKlBackward(
      Tensor gradX,
      Tensor gradW,
      Tensor gradKl,
      Tensor x,
      Weight weight,
      Tensor xRef,
      Weight weightRef,
      Tensor lse,
      Tensor lseRef,
      Tensor kl,
      float temperature) {
    Frame f = Frame.begin();
    Native.check(
        Rlhf4j.rl_head_full_kl_backward(
            f.tensor(gradX),
            f.tensor(gradW),
            f.tensor(gradKl),
            f.tensor(x),
            weight.handle(),
            f.tensor(xRef),
            weightRef.handle(),
            f.tensor(lse),
            f.tensor(lseRef),
            f.tensor(kl),
            temperature));
  }

  /** {@code rl_scalar_head}. */
  public static void scalarHead(Tensor y, Tensor x, Tensor w, Tensor bias) {
    Frame f = Frame.begin();
    Native.check(Rlhf4j.rl_scalar_head(f.tensor(y), f.tensor(x), f.tensor(w), f.tensor(bias)));
  }

  /** {@code rl_scalar_head_backward}. */
  public static void scalarHeadBackward(
      Tensor gradX, Tensor gradW, Tensor gradBias, Tensor gradY, Tensor x, Tensor w) {
    Frame f = Frame.begin();
    Native.check(
        Rlhf4j.rl_scalar_head_backward(
            f.tensor(gradX),
            f.tensor(gradW),
            f.tensor(gradBias),
            f.tensor(gradY),
            f.tensor(x),
            f.tensor(w)));
  }

  /** {@code rl_kl_penalty}. */
  public static void klPenalty(Tensor kl, Tensor logp, Tensor logpRef, int kind) {
    Frame f = Frame.begin();
    Native.check(Rlhf4j.rl_kl_penalty(f.tensor(kl), f.tensor(logp), f.tensor(logpRef), kind));
  }

  /** {@code rl_shaped_rewards}. */
  public static void shapedRewards(
      Tensor rewards, Tensor kl, Tensor scores, Tensor cuSeqlens, float beta) {
    Frame f = Frame.begin();
    Native.check(
        Rlhf4j.rl_shaped_rewards(
            f.tensor(rewards), f.tensor(kl), f.tensor(scores), f.tensor(cuSeqlens), beta));
  }

  /** {@code rl_gae}. */
  public static void gae(
      Tensor advantages,
      Tensor returns,
      Tensor rewards,
      Tensor values,
      Tensor cuSeqlens,
      float gamma,
      float lam) {
    Frame f = Frame.begin();
    Native.check(
        Rlhf4j.rl_gae(
            f.tensor(advantages),
            f.tensor(returns),
            f.tensor(rewards),
            f.tensor(values),
            f.tensor(cuSeqlens),
            gamma,
            lam));
  }

  /** {@code rl_whiten}. */
  public static void whiten(Tensor y, Tensor x, boolean shiftMean) {
    Frame f = Frame.begin();
    Native.check(Rlhf4j.rl_whiten(f.tensor(y), f.tensor(x), shiftMean ? 1 : 0));
  }

  /** {@code rl_advantages}. */
  public static void advantages(
      Tensor rewards,
      Tensor advantages,
      Tensor returns,
      Tensor kl,
      Tensor scores,
      Tensor values,
      Tensor cuSeqlens,
      AdvantagesConfig config) {
    Frame f = Frame.begin();
    Native.check(
        Rlhf4j.rl_advantages(
            f.tensor(rewards),
            f.tensor(advantages),
            f.tensor(returns),
            f.tensor(kl),
            f.tensor(scores),
            f.tensor(values),
            f.tensor(cuSeqlens),
            config.write(f)));
  }

  /** {@code rl_ppo_loss}; {@code entropy} and {@code index} may be null. */
  public static void ppoLoss(
      Tensor stats,
      Tensor gradLogp,
      Tensor gradValues,
      Tensor logp,
      Tensor values,
      Tensor entropy,
      Tensor oldLogp,
      Tensor oldValues,
      Tensor advantages,
      Tensor returns,
      Tensor index,
      PpoLossConfig config) {
    Frame f = Frame.begin();
    Native.check(
        Rlhf4j.rl_ppo_loss(
            f.tensor(stats),
            f.tensor(gradLogp),
            f.tensor(gradValues),
            f.tensor(logp),
            f.tensor(values),
            f.tensor(entropy),
            f.tensor(oldLogp),
            f.tensor(oldValues),
            f.tensor(advantages),
            f.tensor(returns),
            f.tensor(index),
            config.write(f)));
  }

  /** {@code rl_pairwise_loss}. */
  public static void pairwiseLoss(
      Tensor stats,
      Tensor gradChosen,
      Tensor gradRejected,
      Tensor chosen,
      Tensor rejected,
      Tensor margin,
      float center,
      float gradScale) {
    Frame f = Frame.begin();
    Native.check(
        Rlhf4j.rl_pairwise_loss(
            f.tensor(stats),
            f.tensor(gradChosen),
            f.tensor(gradRejected),
            f.tensor(chosen),
            f.tensor(rejected),
            f.tensor(margin),
            center,
            gradScale));
  }

  /** {@code rl_grad_norm}. */
  public static void gradNorm(Tensor norm, Tensor x) {
    Frame f = Frame.begin();
    Native.check(Rlhf4j.rl_grad_norm(f.tensor(norm), f.tensor(x)));
  }

  /** {@code rl_adamw}; {@code rounded} may be null. */
  public static void adamw(
      Tensor param,
      Tensor rounded,
      Tensor m,
      Tensor v,
      Tensor grad,
      Tensor norm,
      AdamWConfig config) {
    Frame f = Frame.begin();
    Native.check(
        Rlhf4j.rl_adamw(
            f.tensor(param),
            f.tensor(rounded),
            f.tensor(m),
            f.tensor(v),
            f.tensor(grad),
            f.tensor(norm),
            config.write(f)));
  }

  /** {@code rl_sample}. */
  public static void sample(
      Tensor ids,
      Tensor logp,
      Tensor logits,
      Tensor streams,
      Tensor steps,
      Tensor suppress,
      Tensor allow,
      SampleConfig config) {
    Frame f = Frame.begin();
    Native.check(
        Rlhf4j.rl_sample(
            f.tensor(ids),
            f.tensor(logp),
            f.tensor(logits),
            f.tensor(streams),
            f.tensor(steps),
            f.tensor(suppress),
            f.tensor(allow),
            config.write(f)));
  }

  private static MemorySegment loras(Frame f, List<Lora> loras) {
    MemorySegment array = f.take(loras.size() * rl_lora.sizeof());
    for (int i = 0; i < loras.size(); i++) {
      Lora lora = loras.get(i);
      MemorySegment s = rl_lora.asSlice(array, i);
      rl_lora.from(s, lora.from());
      rl_lora.to(s, lora.to());
      Frame.write(rl_lora.h(s), lora.h());
      rl_lora.segments(s, segments(f, lora.segments()));
      rl_lora.count(s, lora.segments().size());
      write(rl_lora.dropout(s), lora.dropout());
    }
    return array;
  }

  private static MemorySegment segments(Frame f, List<LoraSegment> segments) {
    MemorySegment array = f.take(segments.size() * rl_lora_segment.sizeof());
    for (int i = 0; i < segments.size(); i++) {
      LoraSegment segment = segments.get(i);
      MemorySegment s = rl_lora_segment.asSlice(array, i);
      rl_lora_segment.begin(s, segment.begin());
      rl_lora_segment.end(s, segment.end());
      rl_lora_segment.scale(s, segment.scale());
      Frame.write(rl_lora_segment.a(s), segment.a());
      Frame.write(rl_lora_segment.b(s), segment.b());
      if (segment.gradA() != null) {
        Frame.write(rl_lora_segment.gradA(s), segment.gradA());
        Frame.write(rl_lora_segment.gradB(s), segment.gradB());
      }
    }
    return array;
  }

  private static MemorySegment dropout(Frame f, Dropout dropout) {
    if (dropout == null || dropout.p() == 0) {
      return MemorySegment.NULL;
    }
    MemorySegment s = f.take(rl_dropout.sizeof());
    write(s, dropout);
    return s;
  }

  private static void write(MemorySegment s, Dropout dropout) {
    rl_dropout.p(s, dropout.p());
    rl_dropout.seed(s, dropout.seed());
    rl_dropout.stream(s, dropout.stream());
  }
}
