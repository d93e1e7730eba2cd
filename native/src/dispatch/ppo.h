// The arithmetic of PPO on one token, in double, and the figures that come of a minibatch's sums. Formulas: rlhf4j.h.
#pragma once

#include <cstdint>

#include "dispatch/formula.h"
#include "rlhf4j.h"

namespace rl {

RL_FORMULA double clamped(double x, double lo, double hi) { return x < lo ? lo : x > hi ? hi : x; }
/// The larger; NaN wins.
RL_FORMULA double larger(double a, double b) { return b <= a || a != a ? a : b; }

/// d = logp - logpRef.
RL_FORMULA double kl_estimate(double d, int32_t kind) {
  switch (kind) {
    case RL_KL_ABS:
      return d < 0 ? -d : d;
    case RL_KL_MSE:
      return 0.5 * d * d;
    case RL_KL_K3:
      return expm1_of(-d) + d;
    default:
      return d;
  }
}

/// One step of the recurrence: the reward and the values of a token and of the next, 0 behind the last.
RL_FORMULA double gae_delta(float reward, double value, double next, double gamma) {
  return static_cast<double>(reward) + gamma * next - value;
}

/// Of some numbers; variance: unbiased, 0 with fewer than two.
struct Moments {
  double mean, variance;
};
/// Subtract the mean, multiply by scale, add.
struct Whitening {
  double mean, scale, add;
};
RL_FORMULA Whitening whitening(const Moments &m, bool shift_mean) {
  return {m.mean, 1 / root_of(m.variance + 1e-8), shift_mean ? 0 : m.mean};
}
RL_FORMULA float whitened(float x, const Whitening &w) {
  return static_cast<float>((static_cast<double>(x) - w.mean) * w.scale + w.add);
}

struct PpoToken {
  float logp, old_logp, value, old_value, advantage, target, entropy;
};

/// What is added up over the tokens.
enum PpoSum {
  kPolicySum,
  kValueSum,
  kClippedSum,
  kValueClippedSum,
  kApproxSum,
  kKlSum,
  kRatioSum,
  kErrorSum,
  kValuesSum,
  kAdvantagesSum,
  kEntropySum,
  kPpoSums
};
struct PpoSums {
  double sum[kPpoSums];
  double largest;  // ratio; its start is 0
};

/// The gradients of one token, before the division by the number of tokens: multiply by `scale`. Adds to the sums.
struct PpoGradient {
  float logp, value;
};
RL_FORMULA PpoGradient ppo_token(PpoSums &sums, const PpoToken &x, const rl_ppo_config &c, double scale) {
  const double eps = static_cast<double>(c.cliprange), epsV = static_cast<double>(c.cliprange_value);
  const double bound = static_cast<double>(c.log_ratio_clamp), dual = static_cast<double>(c.dual_clip);
  const double raw = static_cast<double>(x.logp) - static_cast<double>(x.old_logp);
  const double d = bound > 0 ? clamped(raw, -bound, bound) : raw;
  const double ratio = exp_of(d), a = static_cast<double>(x.advantage);
  const double g1 = -a * ratio, g2 = -a * clamped(ratio, 1 - eps, 1 + eps);
  double loss = g1 > g2 ? g1 : g2;
  double slope = g2 > g1 ? 0 : g1;  // d g1 / d logp = g1; g2 above g1 means that it is clipped, and flat; NaN stays NaN
  if (dual > 1 && a < 0 && loss > -dual * a) {
    loss = -dual * a;
    slope = 0;
  }
  if (d != raw && raw == raw) slope = 0;
  const double v = static_cast<double>(x.value), old = static_cast<double>(x.old_value);
  const double r = static_cast<double>(x.target), cut = clamped(v, old - epsV, old + epsV);
  const double l1 = (v - r) * (v - r), l2 = (cut - r) * (cut - r);
  sums.sum[kPolicySum] += loss;
  sums.sum[kValueSum] += l1 > l2 ? l1 : l2;
  sums.sum[kClippedSum] += g2 > g1 ? 1 : 0;
  sums.sum[kValueClippedSum] += l2 > l1 ? 1 : 0;
  sums.sum[kApproxSum] += 0.5 * raw * raw;
  sums.sum[kKlSum] -= raw;
  sums.sum[kRatioSum] += ratio;
  sums.sum[kErrorSum] += l1;
  sums.sum[kValuesSum] += v;
  sums.sum[kAdvantagesSum] += a;
  sums.sum[kEntropySum] += static_cast<double>(x.entropy);
  sums.largest = larger(sums.largest, ratio);
  return {static_cast<float>(slope * scale),
          static_cast<float>(l2 > l1 ? 0 : static_cast<double>(c.vf_coef) * (v - r) * scale)};
}

/// Whether the minibatch is left out: losses and gradients are 0 then.
RL_FORMULA bool ppo_skipped(const PpoSums &sums, const rl_ppo_config &c, double count) {
  return c.ratio_threshold > 0 && sums.sum[kRatioSum] / count > static_cast<double>(c.ratio_threshold);
}

RL_FORMULA void ppo_stats(float *s, const PpoSums &sums, const Moments &returns, const rl_ppo_config &c, double count) {
  const bool skipped = ppo_skipped(sums, c, count);
  const double policy = skipped ? 0 : sums.sum[kPolicySum] / count;
  const double value = skipped ? 0 : sums.sum[kValueSum] * (0.5 / count);
  s[RL_PPO_LOSS_POLICY] = static_cast<float>(policy);
  s[RL_PPO_LOSS_VALUE] = static_cast<float>(value);
  s[RL_PPO_LOSS_TOTAL] = static_cast<float>(policy + static_cast<double>(c.vf_coef) * value);
  s[RL_PPO_POLICY_CLIPFRAC] = static_cast<float>(sums.sum[kClippedSum] / count);
  s[RL_PPO_VALUE_CLIPFRAC] = static_cast<float>(sums.sum[kValueClippedSum] / count);
  s[RL_PPO_APPROXKL] = static_cast<float>(sums.sum[kApproxSum] / count);
  s[RL_PPO_POLICYKL] = static_cast<float>(sums.sum[kKlSum] / count);
  s[RL_PPO_RATIO_MEAN] = static_cast<float>(sums.sum[kRatioSum] / count);
  s[RL_PPO_SKIPPED] = skipped ? 1.0f : 0.0f;
  s[RL_PPO_VALUE_ERROR] = static_cast<float>(sums.sum[kErrorSum] / count);
  s[RL_PPO_RETURNS_MEAN] = static_cast<float>(returns.mean);
  s[RL_PPO_RETURNS_VAR] = static_cast<float>(returns.variance);
  s[RL_PPO_VALUE_MEAN] = static_cast<float>(sums.sum[kValuesSum] / count);
  s[RL_PPO_ADVANTAGES_MEAN] = static_cast<float>(sums.sum[kAdvantagesSum] / count);
  s[RL_PPO_RATIO_MAX] = static_cast<float>(sums.largest);
  s[RL_PPO_ENTROPY] = static_cast<float>(sums.sum[kEntropySum] / count);
}

}  // namespace rl
