// The arithmetic of PPO on packed response tokens. Formulas: rlhf4j.h. The arrays are short (thousands at most): statistics come
// from one block, in double and in a fixed order, so that one launch does a whole loss.
#include "cuda/op.h"
#if !defined(RL_KERNELS)
#include "cuda/indices.h"
#endif

namespace rl::cuda {

constexpr int kThreads = 128, kLossThreads = 256;

struct PpoTensors {
  View stats, gradLogp, gradValues, logp, oldLogp, values, oldValues, advantages, returns;
};

#if defined(RL_KERNELS)

struct Moments {
  double mean;
  double variance;  // unbiased; 0 with fewer than two elements
};

/// By the whole block.
DEVICE Moments moments(const float *x, int64_t n) {
  double sum = 0, squares = 0;
  for (int64_t i = threadIdx.x; i < n; i += blockDim.x) sum += static_cast<double>(x[i]);
  const double mean = block_sum(sum) / static_cast<double>(n);
  for (int64_t i = threadIdx.x; i < n; i += blockDim.x) {
    const double d = static_cast<double>(x[i]) - mean;
    squares += d * d;
  }
  squares = block_sum(squares);
  return {mean, n > 1 ? squares / static_cast<double>(n - 1) : 0};
}

DEVICE double clamp(double x, double lo, double hi) { return x < lo ? lo : x > hi ? hi : x; }

KERNEL(kl_penalty, kThreads, View kl, View logp, View logpRef, int32_t kind) {
  const int64_t t = thread_of_grid();
  if (t >= kl.elements()) return;
  const double d = static_cast<double>(logp.f32()[t]) - static_cast<double>(logpRef.f32()[t]);
  double y = d;
  if (kind == RL_KL_ABS) y = d < 0 ? -d : d;
  if (kind == RL_KL_MSE) y = 0.5 * d * d;
  if (kind == RL_KL_K3) y = expm1(-d) + d;
  kl.f32()[t] = static_cast<float>(y);
}

KERNEL(shaped_rewards, kThreads, View rewards, View kl, View scores, View cu,
       float beta) {  // a block for each sequence
  const Span rows = span(cu.i32(), blockIdx.x, kl.elements());
  for (int64_t t = rows.begin + threadIdx.x; t < rows.end; t += blockDim.x) {
    const float penalty = -beta * kl.f32()[t];
    rewards.f32()[t] = t == rows.end - 1 ? penalty + scores.f32()[blockIdx.x] : penalty;
  }
}

KERNEL(gae, kThreads, View advantages, View returns, View rewards, View values, View cu, float gamma, float lam) {
  const int64_t b = thread_of_grid();  // a thread for each sequence: the recurrence is serial
  if (b >= cu.elements() - 1) return;
  const Span rows = span(cu.i32(), b, rewards.elements());
  const double g = static_cast<double>(gamma), l = static_cast<double>(lam);
  double advantage = 0, next = 0;
  for (int64_t t = rows.end - 1; t >= rows.begin; t--) {
    const double v = static_cast<double>(values.f32()[t]);
    advantage = static_cast<double>(rewards.f32()[t]) + g * next - v + g * l * advantage;
    next = v;
    advantages.f32()[t] = static_cast<float>(advantage);
    returns.f32()[t] = static_cast<float>(advantage + v);
  }
}

KERNEL(whiten, kLossThreads, View y, View x, int32_t shiftMean) {
  const int64_t n = x.elements();
  const Moments m = moments(x.f32(), n);
  const double scale = 1 / sqrt(m.variance + 1e-8), add = shiftMean ? 0 : m.mean;
  for (int64_t i = threadIdx.x; i < n; i += blockDim.x) {
    y.f32()[i] = n < 2 ? x.f32()[i] : static_cast<float>((static_cast<double>(x.f32()[i]) - m.mean) * scale + add);
  }
}

KERNEL(ppo_loss, kLossThreads, PpoTensors x, rl_ppo_config c) {
  const int64_t n = x.logp.elements();
  const double count = static_cast<double>(n), eps = static_cast<double>(c.cliprange);
  const double epsV = static_cast<double>(c.cliprange_value), scale = static_cast<double>(c.grad_scale) / count;
  const double bound = static_cast<double>(c.log_ratio_clamp), dual = static_cast<double>(c.dual_clip);
  const double vf = static_cast<double>(c.vf_coef);
  double policy = 0, value = 0, clipped = 0, valueClipped = 0, approx = 0, kl = 0, ratios = 0, error = 0, values = 0;
  double advantages = 0, largest = 0;
  for (int64_t t = threadIdx.x; t < n; t += blockDim.x) {
    const double raw = static_cast<double>(x.logp.f32()[t]) - static_cast<double>(x.oldLogp.f32()[t]);
    const double d = bound > 0 ? clamp(raw, -bound, bound) : raw;
    const double ratio = exp(d), a = static_cast<double>(x.advantages.f32()[t]);
    const double g1 = -a * ratio, g2 = -a * clamp(ratio, 1 - eps, 1 + eps);
    double loss = g1 > g2 ? g1 : g2;
    double slope =
        g2 > g1 ? 0 : g1;  // d g1 / d logp = g1; g2 above g1 means that it is clipped, and flat; NaN stays NaN
    if (dual > 1 && a < 0 && loss > -dual * a) {
      loss = -dual * a;
      slope = 0;
    }
    if (d != raw && raw == raw) slope = 0;
    const double v = static_cast<double>(x.values.f32()[t]), old = static_cast<double>(x.oldValues.f32()[t]);
    const double r = static_cast<double>(x.returns.f32()[t]), cut = clamp(v, old - epsV, old + epsV);
    const double l1 = (v - r) * (v - r), l2 = (cut - r) * (cut - r);
    x.gradLogp.f32()[t] = static_cast<float>(slope * scale);
    x.gradValues.f32()[t] = static_cast<float>(l2 > l1 ? 0 : vf * (v - r) * scale);
    policy += loss;
    value += l1 > l2 ? l1 : l2;
    clipped += g2 > g1 ? 1 : 0;
    valueClipped += l2 > l1 ? 1 : 0;
    approx += 0.5 * raw * raw;
    kl -= raw;
    ratios += ratio;
    largest = ratio <= largest || largest != largest ? largest : ratio;  // NaN wins
    error += l1;
    values += v;
    advantages += a;
  }
  policy = block_sum(policy) / count;
  value = block_sum(value) * 0.5 / count;
  ratios = block_sum(ratios) / count;
  const bool skipped = c.ratio_threshold > 0 && ratios > static_cast<double>(c.ratio_threshold);
  if (skipped) {
    policy = value = 0;
    for (int64_t t = threadIdx.x; t < n; t += blockDim.x) x.gradLogp.f32()[t] = x.gradValues.f32()[t] = 0;
  }
  const Moments m = moments(x.returns.f32(), n);
  clipped = block_sum(clipped);
  valueClipped = block_sum(valueClipped);
  approx = block_sum(approx);
  kl = block_sum(kl);
  error = block_sum(error);
  values = block_sum(values);
  advantages = block_sum(advantages);
  SHARED(double, highest, [kLossThreads]);
  highest[threadIdx.x] = largest;
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (int i = 1; i < kLossThreads; i++) {
    const double other = highest[i];
    largest = other <= largest || largest != largest ? largest : other;
  }
  float *s = x.stats.f32();
  for (int i = 0; i < RL_PPO_STATS; i++) s[i] = 0;
  s[RL_PPO_LOSS_POLICY] = static_cast<float>(policy);
  s[RL_PPO_LOSS_VALUE] = static_cast<float>(value);
  s[RL_PPO_LOSS_TOTAL] = static_cast<float>(policy + vf * value);
  s[RL_PPO_POLICY_CLIPFRAC] = static_cast<float>(clipped / count);
  s[RL_PPO_VALUE_CLIPFRAC] = static_cast<float>(valueClipped / count);
  s[RL_PPO_APPROXKL] = static_cast<float>(approx / count);
  s[RL_PPO_POLICYKL] = static_cast<float>(kl / count);
  s[RL_PPO_RATIO_MEAN] = static_cast<float>(ratios);
  s[RL_PPO_SKIPPED] = skipped ? 1.0f : 0.0f;
  s[RL_PPO_VALUE_ERROR] = static_cast<float>(error / count);
  s[RL_PPO_RETURNS_MEAN] = static_cast<float>(m.mean);
  s[RL_PPO_RETURNS_VAR] = static_cast<float>(m.variance);
  s[RL_PPO_VALUE_MEAN] = static_cast<float>(values / count);
  s[RL_PPO_ADVANTAGES_MEAN] = static_cast<float>(advantages / count);
  s[RL_PPO_RATIO_MAX] = static_cast<float>(largest);
}

#else

void kl_penalty(Device &device, View kl, View logp, View logpRef, int32_t kind) {
  gpu(device).launch("kl_penalty", by_element(kl.elements(), kThreads), kl, logp, logpRef, kind);
}

void shaped_rewards(Device &device, View rewards, View kl, View scores, View cuSeqlens, float beta) {
  check_cu_seqlens(gpu(device), "shaped_rewards", cuSeqlens, kl.elements(), false);
  gpu(device).launch("shaped_rewards", by_row(scores.elements(), kThreads), rewards, kl, scores, cuSeqlens, beta);
}

void gae(Device &device, View advantages, View returns, View rewards, View values, View cuSeqlens, float gamma,
         float lam) {
  check_cu_seqlens(gpu(device), "gae", cuSeqlens, rewards.elements(), false);
  gpu(device).launch("gae", by_element(cuSeqlens.elements() - 1, kThreads), advantages, returns, rewards, values,
                     cuSeqlens, gamma, lam);
}

void whiten(Device &device, View y, View x, bool shiftMean) {
  gpu(device).launch("whiten", Grid{1, 1, kLossThreads}, y, x, static_cast<int32_t>(shiftMean));
}

void ppo_loss(Device &device, View stats, View gradLogp, View gradValues, View logp, View oldLogp, View values,
              View oldValues, View advantages, View returns, const rl_ppo_config &c) {
  const PpoTensors x{stats, gradLogp, gradValues, logp, oldLogp, values, oldValues, advantages, returns};
  gpu(device).launch("ppo_loss", Grid{1, 1, kLossThreads}, x, c);
}

#endif

}  // namespace rl::cuda
