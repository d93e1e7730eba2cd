// The arithmetic of PPO on packed response tokens. Formulas: rlhf4j.h. The arrays are short (thousands at most): sums are in
// double, one after the other, and the same whatever the number of threads.
#include "cpu/kernels/indices.h"
#include "cpu/kernels/simd.h"

namespace rl::cpu::RL_ISA {
namespace {

void require_no_empty_sequence(View cu) {
  for (int64_t b = 0; b + 1 < cu.elements(); b++) {
    if (cu.i32()[b] == cu.i32()[b + 1]) {
      fail(RL_INVALID_ARGUMENT, "cu_seqlens: sequence %lld is empty, expected at least one token",
           static_cast<long long>(b));
    }
  }
}

struct Moments {
  double mean;
  double variance;  // unbiased; 0 with fewer than two elements
};

Moments moments(const float *x, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; i++) sum += static_cast<double>(x[i]);
  const double mean = sum / static_cast<double>(n);
  double squares = 0;
  for (int64_t i = 0; i < n; i++) {
    const double d = static_cast<double>(x[i]) - mean;
    squares += d * d;
  }
  return {mean, n > 1 ? squares / static_cast<double>(n - 1) : 0};
}

double clamp(double x, double lo, double hi) { return x < lo ? lo : x > hi ? hi : x; }

}  // namespace

void kl_penalty(Device &, View kl, View logp, View logpRef, int32_t kind) {
  for (int64_t t = 0; t < kl.elements(); t++) {
    const double d = static_cast<double>(logp.f32()[t]) - static_cast<double>(logpRef.f32()[t]);
    double y = d;
    if (kind == RL_KL_ABS) y = d < 0 ? -d : d;
    if (kind == RL_KL_MSE) y = 0.5 * d * d;
    if (kind == RL_KL_K3) y = __builtin_expm1(-d) + d;
    kl.f32()[t] = static_cast<float>(y);
  }
}

void shaped_rewards(Device &, View rewards, View kl, View scores, View cuSeqlens, float beta) {
  check_cu_seqlens(cuSeqlens, kl.elements());
  require_no_empty_sequence(cuSeqlens);
  for (int64_t t = 0; t < kl.elements(); t++) rewards.f32()[t] = -beta * kl.f32()[t];
  for (int64_t b = 0; b < scores.elements(); b++) rewards.f32()[cuSeqlens.i32()[b + 1] - 1] += scores.f32()[b];
}

void gae(Device &, View advantages, View returns, View rewards, View values, View cuSeqlens, float gamma, float lam) {
  check_cu_seqlens(cuSeqlens, rewards.elements());
  require_no_empty_sequence(cuSeqlens);
  const double g = static_cast<double>(gamma), l = static_cast<double>(lam);
  for (int64_t b = 0; b + 1 < cuSeqlens.elements(); b++) {
    double advantage = 0, next = 0;
    for (int64_t t = cuSeqlens.i32()[b + 1] - 1; t >= cuSeqlens.i32()[b]; t--) {
      const double v = static_cast<double>(values.f32()[t]);
      advantage = static_cast<double>(rewards.f32()[t]) + g * next - v + g * l * advantage;
      next = v;
      advantages.f32()[t] = static_cast<float>(advantage);
      returns.f32()[t] = static_cast<float>(advantage + v);
    }
  }
}

void whiten(Device &, View y, View x, bool shiftMean) {
  const int64_t n = x.elements();
  if (n < 2) {
    y.f32()[0] = x.f32()[0];
    return;
  }
  const Moments m = moments(x.f32(), n);
  const double scale = 1 / __builtin_sqrt(m.variance + 1e-8), add = shiftMean ? 0 : m.mean;
  for (int64_t i = 0; i < n; i++) {
    y.f32()[i] = static_cast<float>((static_cast<double>(x.f32()[i]) - m.mean) * scale + add);
  }
}

void ppo_loss(Device &, View stats, View gradLogp, View gradValues, View logp, View oldLogp, View values,
              View oldValues, View advantages, View returns, const rl_ppo_config &c) {
  const int64_t n = logp.elements();
  const double count = static_cast<double>(n), eps = static_cast<double>(c.cliprange);
  const double epsV = static_cast<double>(c.cliprange_value), scale = static_cast<double>(c.grad_scale) / count;
  const double bound = static_cast<double>(c.log_ratio_clamp), dual = static_cast<double>(c.dual_clip);
  const double vf = static_cast<double>(c.vf_coef);
  double policy = 0, value = 0, clipped = 0, valueClipped = 0, approx = 0, kl = 0, ratios = 0, error = 0, values_ = 0;
  double advantages_ = 0, largest = 0;
  for (int64_t t = 0; t < n; t++) {
    const double raw = static_cast<double>(logp.f32()[t]) - static_cast<double>(oldLogp.f32()[t]);
    const double d = bound > 0 ? clamp(raw, -bound, bound) : raw;
    const double ratio = __builtin_exp(d), a = static_cast<double>(advantages.f32()[t]);
    const double g1 = -a * ratio, g2 = -a * clamp(ratio, 1 - eps, 1 + eps);
    double loss = g1 > g2 ? g1 : g2;
    double slope =
        g2 > g1 ? 0 : g1;  // d g1 / d logp = g1; g2 above g1 means that it is clipped, and flat; NaN stays NaN
    if (dual > 1 && a < 0 && loss > -dual * a) {
      loss = -dual * a;
      slope = 0;
    }
    if (d != raw && raw == raw) slope = 0;
    const double v = static_cast<double>(values.f32()[t]), old = static_cast<double>(oldValues.f32()[t]);
    const double r = static_cast<double>(returns.f32()[t]), cut = clamp(v, old - epsV, old + epsV);
    const double l1 = (v - r) * (v - r), l2 = (cut - r) * (cut - r);
    gradLogp.f32()[t] = static_cast<float>(slope * scale);
    gradValues.f32()[t] = static_cast<float>(l2 > l1 ? 0 : vf * (v - r) * scale);
    policy += loss;
    value += l1 > l2 ? l1 : l2;
    clipped += g2 > g1 ? 1 : 0;
    valueClipped += l2 > l1 ? 1 : 0;
    approx += 0.5 * raw * raw;
    kl -= raw;
    ratios += ratio;
    largest = ratio <= largest || largest != largest ? largest : ratio;  // NaN wins
    error += l1;
    values_ += v;
    advantages_ += a;
  }
  policy /= count;
  value *= 0.5 / count;
  const bool skipped = c.ratio_threshold > 0 && ratios / count > static_cast<double>(c.ratio_threshold);
  if (skipped) {
    policy = value = 0;
    for (int64_t t = 0; t < n; t++) gradLogp.f32()[t] = gradValues.f32()[t] = 0;
  }
  const Moments m = moments(returns.f32(), n);
  float *s = stats.f32();
  for (int i = 0; i < RL_PPO_STATS; i++) s[i] = 0;
  s[RL_PPO_LOSS_POLICY] = static_cast<float>(policy);
  s[RL_PPO_LOSS_VALUE] = static_cast<float>(value);
  s[RL_PPO_LOSS_TOTAL] = static_cast<float>(policy + vf * value);
  s[RL_PPO_POLICY_CLIPFRAC] = static_cast<float>(clipped / count);
  s[RL_PPO_VALUE_CLIPFRAC] = static_cast<float>(valueClipped / count);
  s[RL_PPO_APPROXKL] = static_cast<float>(approx / count);
  s[RL_PPO_POLICYKL] = static_cast<float>(kl / count);
  s[RL_PPO_RATIO_MEAN] = static_cast<float>(ratios / count);
  s[RL_PPO_SKIPPED] = skipped ? 1.0f : 0.0f;
  s[RL_PPO_VALUE_ERROR] = static_cast<float>(error / count);
  s[RL_PPO_RETURNS_MEAN] = static_cast<float>(m.mean);
  s[RL_PPO_RETURNS_VAR] = static_cast<float>(m.variance);
  s[RL_PPO_VALUE_MEAN] = static_cast<float>(values_ / count);
  s[RL_PPO_ADVANTAGES_MEAN] = static_cast<float>(advantages_ / count);
  s[RL_PPO_RATIO_MAX] = static_cast<float>(largest);
}

}  // namespace rl::cpu::RL_ISA
