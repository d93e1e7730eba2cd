// The arithmetic of PPO on packed response tokens. Formulas: dispatch/ppo.h. The arrays are short (thousands at most): sums are in
// double, one after the other, and the same whatever the number of threads.
#include "dispatch/ppo.h"

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

}  // namespace

void kl_penalty(Device &, View kl, View logp, View logpRef, int32_t kind) {
  for (int64_t t = 0; t < kl.elements(); t++) {
    const double d = static_cast<double>(logp.f32()[t]) - static_cast<double>(logpRef.f32()[t]);
    kl.f32()[t] = static_cast<float>(kl_estimate(d, kind));
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
      advantage = gae_delta(rewards.f32()[t], v, next, g) + g * l * advantage;
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
  const Whitening w = whitening(m, shiftMean);
  for (int64_t i = 0; i < n; i++) y.f32()[i] = whitened(x.f32()[i], w);
}

void advantages(Device &device, View rewards, View advantages, View returns, View kl, View scores, View values,
                View cuSeqlens, const rl_advantages_config &c) {
  shaped_rewards(device, rewards, kl, scores, cuSeqlens, c.beta);
  if (c.whiten_rewards) whiten(device, rewards, rewards, false);
  gae(device, advantages, returns, rewards, values, cuSeqlens, c.gamma, c.lam);
  if (c.whiten_advantages) whiten(device, advantages, advantages, true);
}

void ppo_loss(Device &device, View stats, View gradLogp, View gradValues, View logp, View values, View entropy,
              View oldLogp, View oldValues, View advantages, View returns, View index, const rl_ppo_config &c) {
  const int64_t n = logp.elements();
  if (index) check_indices("index", index, oldLogp.elements());
  const double count = static_cast<double>(n), scale = static_cast<double>(c.grad_scale) / count;
  float *targets = cpu(device).scratch<float>(n);
  PpoSums sums{};
  for (int64_t t = 0; t < n; t++) {
    const int64_t i = index ? index.i32()[t] : t;
    targets[t] = returns.f32()[i];
    const PpoToken token{logp.f32()[t],
                         oldLogp.f32()[i],
                         values.f32()[t],
                         oldValues.f32()[i],
                         advantages.f32()[i],
                         targets[t],
                         entropy ? entropy.f32()[t] : 0.0f};
    const PpoGradient gradient = ppo_token(sums, token, c, scale);
    gradLogp.f32()[t] = gradient.logp;
    gradValues.f32()[t] = gradient.value;
  }
  if (ppo_skipped(sums, c, count)) {
    for (int64_t t = 0; t < n; t++) gradLogp.f32()[t] = gradValues.f32()[t] = 0;
  }
  ppo_stats(stats.f32(), sums, moments(targets, n), c, count);
}

}  // namespace rl::cpu::RL_ISA
