// Properties of the RL ops that hold for any input, over random packed layouts with one-token sequences among them. The values
// themselves are checked in each op's own test.
#include <algorithm>
#include <numeric>

#include "../src/dispatch/philox.h"
#include "support.h"

namespace rl::test {
namespace {

double at(const Floats &x, size_t i) { return static_cast<double>(x[i]); }

/// Sequences of 1 to 40 tokens, a third of them of one.
struct Layout {
  Ints cu{0};
  std::vector<size_t> starts{0};

  explicit Layout(uint32_t seed) {
    std::mt19937 engine(seed);
    const uint32_t sequences = 1 + engine() % 12;
    for (uint32_t b = 0; b < sequences; b++) {
      cu.push_back(cu.back() + (engine() % 3 == 0 ? 1 : 1 + static_cast<int32_t>(engine() % 40)));
      starts.push_back(static_cast<size_t>(cu.back()));
    }
  }
  int64_t tokens() const { return cu.back(); }
  int64_t sequences() const { return static_cast<int64_t>(cu.size()) - 1; }
};

class RlProperties : public testing::TestWithParam<uint32_t> {
 protected:
  const uint32_t seed = GetParam() * 1000;
  const Layout layout{GetParam()};
  const int64_t n = layout.tokens();
  Tensor cu{{static_cast<int64_t>(layout.cu.size())}, layout.cu};

  Floats random(uint32_t which, float scale = 1) const { return random_floats(n, seed + which, RL_F32, scale); }

  struct Gae {
    Floats advantages, returns;
  };
  Gae gae(const Floats &rewards, const Floats &values, float gamma, float lam) {
    Tensor r({n}, rewards), v({n}, values), a({n}), ret({n});
    EXPECT_EQ(rl_gae(a, ret, r, v, cu, gamma, lam), RL_OK) << rl_last_error();
    return {a.get(), ret.get()};
  }
};

INSTANTIATE_TEST_SUITE_P(Layouts, RlProperties, testing::Range(1u, 41u));

// ---- kl_penalty, shaped_rewards ----

TEST_P(RlProperties, KlKindsAgreeWithEachOther) {
  const Floats logp = random(1, 2), ref = random(2, 2);
  auto kl = [&](const Floats &a, const Floats &b, int32_t kind) {
    Tensor ta({n}, a), tb({n}, b), y({n});
    EXPECT_EQ(rl_kl_penalty(y, ta, tb, kind), RL_OK) << rl_last_error();
    return y.get();
  };
  const Floats k1 = kl(logp, ref, RL_KL_K1), abs = kl(logp, ref, RL_KL_ABS), mse = kl(logp, ref, RL_KL_MSE),
               k3 = kl(logp, ref, RL_KL_K3), back = kl(ref, logp, RL_KL_K1), mse_back = kl(ref, logp, RL_KL_MSE);
  for (size_t t = 0; t < k1.size(); t++) {
    EXPECT_EQ(abs[t], std::abs(k1[t]));
    EXPECT_EQ(back[t], -k1[t]);
    EXPECT_EQ(mse_back[t], mse[t]);
    EXPECT_GE(mse[t], 0);
    EXPECT_GE(k3[t], 0);
    EXPECT_GE(k3[t], k1[t] - 1);  // exp(-d) is above 0
  }
}

TEST_P(RlProperties, RewardsOfASequenceAddUpToItsScoreLessItsKl) {
  const Floats kl = random(1), scores = random_floats(layout.sequences(), seed + 2, RL_F32, 3);
  Tensor tkl({n}, kl), ts({layout.sequences()}, scores), r({n});
  RL_CHECK(rl_shaped_rewards(r, tkl, ts, cu, 0.2f));
  const Floats rewards = r.get();
  for (size_t b = 0; b < scores.size(); b++) {
    double sum = 0, divergence = 0;
    for (size_t t = layout.starts[b]; t < layout.starts[b + 1]; t++) {
      sum += at(rewards, t);
      divergence += at(kl, t);
    }
    EXPECT_NEAR(sum, at(scores, b) - static_cast<double>(0.2f) * divergence, 1e-5) << "sequence " << b;
  }
}

// ---- gae ----

TEST_P(RlProperties, UndiscountedAdvantageIsRewardToGoMinusValue) {
  const Floats rewards = random(1), values = random(2);
  const Gae got = gae(rewards, values, 1, 1);
  for (size_t b = 0; b + 1 < layout.starts.size(); b++) {
    double to_go = 0;
    for (size_t t = layout.starts[b + 1]; t-- > layout.starts[b];) {
      to_go += at(rewards, t);
      EXPECT_NEAR(at(got.advantages, t), to_go - at(values, t), 1e-5);
      EXPECT_NEAR(at(got.returns, t), to_go, 1e-5);
    }
  }
}

TEST_P(RlProperties, WithoutLambdaTheAdvantageIsOneStepsError) {
  const Floats rewards = random(1), values = random(2);
  const Gae got = gae(rewards, values, 0.9f, 0);
  for (size_t b = 0; b + 1 < layout.starts.size(); b++) {
    for (size_t t = layout.starts[b]; t < layout.starts[b + 1]; t++) {
      const double next = t + 1 < layout.starts[b + 1] ? at(values, t + 1) : 0;
      EXPECT_NEAR(at(got.advantages, t), at(rewards, t) + static_cast<double>(0.9f) * next - at(values, t), 1e-6);
    }
  }
}

TEST_P(RlProperties, SequencesDoNotReachIntoEachOther) {
  Floats rewards = random(1), values = random(2);
  const Gae before = gae(rewards, values, 0.99f, 0.95f);
  const size_t changed = seed / 1000 % static_cast<size_t>(layout.sequences());
  for (size_t t = layout.starts[changed]; t < layout.starts[changed + 1]; t++) {
    rewards[t] = 1e6f;
    values[t] = -1e6f;
  }
  const Gae after = gae(rewards, values, 0.99f, 0.95f);
  for (size_t t = 0; t < rewards.size(); t++) {
    if (t >= layout.starts[changed] && t < layout.starts[changed + 1]) continue;
    EXPECT_EQ(after.advantages[t], before.advantages[t]) << t;
    EXPECT_EQ(after.returns[t], before.returns[t]) << t;
  }
}

TEST_P(RlProperties, APerfectCriticLeavesNoAdvantage) {
  const Floats rewards = random(1);
  const Floats exact = gae(rewards, Floats(rewards.size(), 0.0f), 1, 1).returns;
  for (float lam : {0.0f, 0.5f, 0.95f, 1.0f}) {
    const Gae got = gae(rewards, exact, 1, lam);
    for (float a : got.advantages) EXPECT_NEAR(static_cast<double>(a), 0, 1e-5);
    expect_close(got.returns, exact, 1e-5, 1e-6, "returns");
  }
}

// ---- whiten ----

TEST_P(RlProperties, WhitenedHasMeanZeroAndVarianceOneWhateverTheUnit) {
  if (n < 2) return;
  const Floats x = random(1, 3);
  auto whiten = [&](const Floats &v, int32_t shift) {
    Tensor t({n}, v), y({n});
    EXPECT_EQ(rl_whiten(y, t, shift), RL_OK) << rl_last_error();
    return y.get();
  };
  const Floats y = whiten(x, 1), kept = whiten(x, 0);
  const double count = static_cast<double>(n);
  double mean = 0, mean_x = 0, var = 0;
  for (size_t t = 0; t < x.size(); t++) {
    mean += at(y, t) / count;
    mean_x += at(x, t) / count;
  }
  for (size_t t = 0; t < x.size(); t++) var += (at(y, t) - mean) * (at(y, t) - mean) / (count - 1);
  EXPECT_NEAR(mean, 0, 1e-6);
  EXPECT_NEAR(var, 1, 1e-5);
  for (size_t t = 0; t < x.size(); t++) EXPECT_NEAR(at(kept, t) - at(y, t), mean_x, 1e-5);
  Floats scaled = x;
  for (float &v : scaled) v *= 8;  // exactly
  expect_close(whiten(scaled, 1), y, 1e-6, 1e-6, "of another unit");
}

// ---- ppo_loss ----

struct Batch {
  Floats logp, old_logp, values, old_values, advantages, returns;
  rl_ppo_config c{0.2f, 0.2f, 0.5f, 0, 0, 0, 1, 0};
};

struct Result {
  Floats stats, grad_logp, grad_values;
};

Result run(const Batch &b) {
  const int64_t n = static_cast<int64_t>(b.logp.size());
  Tensor l({n}, b.logp), ol({n}, b.old_logp), v({n}, b.values), ov({n}, b.old_values), a({n}, b.advantages),
      r({n}, b.returns), stats({RL_PPO_STATS}), gl({n}), gv({n});
  EXPECT_EQ(rl_ppo_loss(stats, gl, gv, l, v, nullptr, ol, ov, a, r, nullptr, &b.c), RL_OK) << rl_last_error();
  return {stats.get(), gl.get(), gv.get()};
}

class PpoProperties : public RlProperties {
 protected:
  Batch batch(float spread = 0.4f) const {
    Batch b{random(1, spread), random(2), random(3), random(4, 0.5f), random(5), random(6)};
    for (size_t t = 0; t < b.logp.size(); t++) {
      b.logp[t] += b.old_logp[t];
      b.old_values[t] += b.values[t];
    }
    return b;
  }
};

INSTANTIATE_TEST_SUITE_P(Layouts, PpoProperties, testing::Range(1u, 21u));

TEST_P(PpoProperties, AnUnchangedPolicyLosesItsMeanAdvantage) {
  Batch b = batch();
  b.logp = b.old_logp;
  for (float dual : {0.0f, 3.0f}) {
    for (float bound : {0.0f, 10.0f}) {
      b.c.dual_clip = dual;
      b.c.log_ratio_clamp = bound;
      b.c.ratio_threshold = 10;
      const Result got = run(b);
      double mean = 0;
      for (float a : b.advantages) mean += static_cast<double>(a) / static_cast<double>(n);
      EXPECT_NEAR(static_cast<double>(got.stats[RL_PPO_LOSS_POLICY]), -mean, 1e-6);
      EXPECT_EQ(got.stats[RL_PPO_RATIO_MEAN], 1);
      EXPECT_EQ(got.stats[RL_PPO_RATIO_MAX], 1);
      EXPECT_EQ(got.stats[RL_PPO_APPROXKL], 0);
      EXPECT_EQ(got.stats[RL_PPO_POLICYKL], 0);
      EXPECT_EQ(got.stats[RL_PPO_POLICY_CLIPFRAC], 0);
      EXPECT_EQ(got.stats[RL_PPO_SKIPPED], 0);
    }
  }
}

TEST_P(PpoProperties, ClippingNeverLowersTheLoss) {
  Batch b = batch();
  const Result clipped = run(b);
  b.c.cliprange = b.c.cliprange_value = 1e6f;
  const Result open = run(b);
  EXPECT_GE(at(clipped.stats, RL_PPO_LOSS_POLICY), at(open.stats, RL_PPO_LOSS_POLICY) - 1e-6);
  EXPECT_GE(at(clipped.stats, RL_PPO_LOSS_VALUE), at(open.stats, RL_PPO_LOSS_VALUE) - 1e-6);
  EXPECT_NEAR(at(open.stats, RL_PPO_LOSS_VALUE), 0.5 * at(open.stats, RL_PPO_VALUE_ERROR), 1e-6);
  EXPECT_EQ(open.stats[RL_PPO_POLICY_CLIPFRAC], 0);
  EXPECT_EQ(open.stats[RL_PPO_VALUE_CLIPFRAC], 0);
}

TEST_P(PpoProperties, AStepAgainstTheGradientLowersTheLoss) {
  Batch b = batch(0.05f);
  const Result before = run(b);
  for (size_t t = 0; t < b.logp.size(); t++) {
    b.logp[t] -= 1e-3f * static_cast<float>(n) * before.grad_logp[t];
    b.values[t] -= 1e-3f * static_cast<float>(n) * before.grad_values[t];
  }
  EXPECT_LT(run(b).stats[RL_PPO_LOSS_TOTAL], before.stats[RL_PPO_LOSS_TOTAL]);
}

TEST_P(PpoProperties, TheOrderOfTokensDoesNotMatter) {
  Batch b = batch();
  const Result before = run(b);
  for (Floats *x : {&b.logp, &b.old_logp, &b.values, &b.old_values, &b.advantages, &b.returns}) {
    std::reverse(x->begin(), x->end());
  }
  Result after = run(b);
  std::reverse(after.grad_logp.begin(), after.grad_logp.end());
  EXPECT_EQ(after.grad_logp, before.grad_logp);
  expect_close(after.stats, before.stats, 1e-6, 1e-6, "stats");
}

TEST_P(PpoProperties, GradScaleScalesGradientsAndNothingElse) {
  Batch b = batch();
  const Result one = run(b);
  b.c.grad_scale = 0.25f;
  const Result quarter = run(b);
  EXPECT_EQ(quarter.stats, one.stats);
  for (size_t t = 0; t < one.grad_logp.size(); t++) {
    EXPECT_EQ(quarter.grad_logp[t], one.grad_logp[t] / 4);
    EXPECT_EQ(quarter.grad_values[t], one.grad_values[t] / 4);
  }
}

TEST_P(PpoProperties, ANumberThatIsNoneIsNotHidden) {
  // A gradient of 0 for a log-probability of NaN would let training go on with a part of the batch.
  for (float bound : {0.0f, 1.0f}) {
    for (float dual : {0.0f, 3.0f}) {
      Batch b = batch();
      b.c.log_ratio_clamp = bound;
      b.c.dual_clip = dual;
      const size_t token = seed / 1000 % b.logp.size();
      b.logp[token] = b.values[token] = NAN;
      const Result got = run(b);
      for (int i : {RL_PPO_LOSS_POLICY, RL_PPO_LOSS_VALUE, RL_PPO_LOSS_TOTAL, RL_PPO_RATIO_MEAN, RL_PPO_RATIO_MAX}) {
        EXPECT_TRUE(std::isnan(got.stats[static_cast<size_t>(i)])) << "stats[" << i << "]";
      }
      for (size_t t = 0; t < b.logp.size(); t++) {
        EXPECT_EQ(std::isnan(got.grad_logp[t]), t == token) << "gradLogp[" << t << "]";
        EXPECT_EQ(std::isnan(got.grad_values[t]), t == token) << "gradValues[" << t << "]";
      }
    }
  }
}

// ---- pairwise_loss ----

TEST_P(RlProperties, PairwiseLossDependsOnTheDifferenceOnly) {
  const Floats c = random(1, 2), r = random(2, 2);
  struct Pair {
    Floats stats, chosen, rejected;
  };
  auto pairwise = [&](const Floats &x, const Floats &y) {
    Tensor tx({n}, x), ty({n}, y), stats({4}), gx({n}), gy({n});
    EXPECT_EQ(rl_pairwise_loss(stats, gx, gy, tx, ty, nullptr, 0, 1), RL_OK) << rl_last_error();
    return Pair{stats.get(), gx.get(), gy.get()};
  };
  const Pair got = pairwise(c, r), swapped = pairwise(r, c);
  // softplus(-x) - softplus(x) = -x
  EXPECT_NEAR(at(got.stats, 0) - at(swapped.stats, 0), -at(got.stats, 2), 1e-5);
  EXPECT_NEAR(at(got.stats, 1) + at(swapped.stats, 1), 1, 1e-6);
  for (size_t i = 0; i < c.size(); i++) {
    EXPECT_EQ(got.chosen[i], -got.rejected[i]);
    EXPECT_LE(got.chosen[i], 0);
    // sigmoid(-x) + sigmoid(x) = 1
    EXPECT_NEAR(at(got.chosen, i) + at(swapped.chosen, i), -1 / static_cast<double>(n), 1e-7);
  }
}

// ---- sample ----

/// What rl_sample promises, by a sort and in double. `sure` is false where rounding may decide otherwise.
struct Expected {
  int32_t id = -1;
  double logp = 0;
  bool sure = true;
};

Expected expected(const float *logits, size_t n, const rl_sample_config &c, const Ints &suppressed, uint32_t stream,
                  uint32_t step) {
  const float inverse = c.temperature == 0 ? 1.0f : 1.0f / c.temperature;
  std::vector<double> z;
  for (size_t i = 0; i < n; i++) {
    const float scaled = logits[i] * inverse;  // rounded: it decides what is equal
    z.push_back(static_cast<double>(scaled));
  }
  const double largest = *std::max_element(z.begin(), z.end());
  double all = 0;
  for (double v : z) all += std::exp(v - largest);
  std::vector<double> open = z;
  for (int32_t s : suppressed) open[static_cast<size_t>(s)] = -INFINITY;
  std::vector<size_t> order(n);
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return open[a] > open[b]; });
  Expected want;
  if (c.temperature == 0) {
    want.id = static_cast<int32_t>(order[0]);
  } else {
    const double top = open[order[0]];
    if (c.top_k > 0 && static_cast<size_t>(c.top_k) < n) {
      size_t kept = static_cast<size_t>(c.top_k);
      while (kept < n && open[order[kept]] == open[order[kept - 1]]) kept++;
      order.resize(kept);
    }
    auto mass_of = [&](const std::vector<size_t> &ids) {
      double mass = 0;
      for (size_t i : ids) mass += std::exp(open[i] - top);
      return mass;
    };
    if (c.top_p < 1) {
      const double total = mass_of(order), wanted = static_cast<double>(c.top_p) * total;
      double mass = 0;
      size_t kept = 0;
      while (kept < order.size() && mass < wanted) {
        mass += std::exp(open[order[kept++]] - top);
        if (std::abs(mass - wanted) < 1e-6 * total) want.sure = false;
      }
      order.resize(kept);
    }
    std::sort(order.begin(), order.end());
    const double u = static_cast<double>(philox_uniform(philox(c.seed, stream, step, 0).word[0]));
    const double mass = mass_of(order), target = u * mass;
    double sum = 0;
    for (size_t i : order) {
      const double p = std::exp(open[i] - top);
      if (p == 0) continue;
      sum += p;
      if (std::abs(sum - target) < 1e-5 * mass) want.sure = false;
      if (sum > target && want.id < 0) want.id = static_cast<int32_t>(i);
    }
  }
  want.logp = z[static_cast<size_t>(want.id)] - largest - std::log(all);
  return want;
}

class SampleProperties : public testing::TestWithParam<int64_t> {};

INSTANTIATE_TEST_SUITE_P(Vocabularies, SampleProperties, testing::Values(1, 2, 63, 64, 65, 256, 257, 1000, 5003));

TEST_P(SampleProperties, EveryDrawIsTheOneOfASort) {
  const int64_t n = GetParam(), rows = 4;
  const size_t width = static_cast<size_t>(n);
  int unsure = 0, draws = 0;
  for (uint32_t kind = 0; kind < 5; kind++) {
    Floats logits = random_floats(rows * n, 40 + kind, RL_F32, kind == 0 ? 0.1f : 3);
    for (size_t i = 0; i < logits.size(); i++) {
      if (kind == 2) logits[i] = std::round(logits[i]);            // ties everywhere
      if (kind == 3 && i % width % 3 != 0) logits[i] = -INFINITY;  // forbidden by whoever made the logits
      if (kind == 4) logits[i] = logits[i] * 10 - 1000;            // peaked, and far from zero
    }
    for (float temperature : {0.0f, 0.7f, 1.0f}) {
      for (int32_t top_k : {0, 1, 50, 300}) {
        for (float top_p : {1.0f, 0.999f, 0.9f, 0.01f}) {
          for (bool suppressing : {false, true}) {
            const rl_sample_config c{temperature, top_k, top_p, 0, 77};
            const Ints suppress = suppressing && n > 60 ? Ints{1, 2, 1, static_cast<int32_t>(n - 1)} : Ints{};
            Ints streams, steps, allow;
            for (int32_t b = 0; b < rows; b++) {
              streams.push_back(b * 1000003);
              steps.push_back(static_cast<int32_t>(kind) * 17 + top_k);
              allow.push_back(b % 2);
            }
            Tensor l({rows, n}, logits), ids({rows}, RL_I32), logp({rows}), ts({rows}, streams), tp({rows}, steps),
                sup({static_cast<int64_t>(suppress.size())}, suppress), al({rows}, allow);
            RL_CHECK(rl_sample(ids, logp, l, ts, tp, sup, al, &c));
            const Ints got = ids.get_ints();
            const Floats got_logp = logp.get();
            for (size_t b = 0; b < static_cast<size_t>(rows); b++) {
              const Expected want = expected(&logits[b * width], width, c, allow[b] ? Ints{} : suppress,
                                             static_cast<uint32_t>(streams[b]), static_cast<uint32_t>(steps[b]));
              draws++;
              if (!want.sure) {
                unsure++;
                continue;
              }
              ASSERT_EQ(got[b], want.id) << "row " << b << ", kind " << kind << ", temperature " << temperature
                                         << ", top_k " << top_k << ", top_p " << top_p;
              // Logits of a thousand have an f32 rounding of 6e-5.
              ASSERT_NEAR(static_cast<double>(got_logp[b]), want.logp, 1e-5 + 1e-6 * std::abs(want.logp));
            }
          }
        }
      }
    }
  }
  EXPECT_LT(unsure, draws / 10 + 1) << "of " << draws << ": too many to mean anything";
}

// ---- threads ----

/// Copies of host arrays on a device of `threads` threads.
class OnDevice {
 public:
  explicit OnDevice(int32_t threads) { EXPECT_EQ(rl_device_open(&device_, "cpu", 0, threads), RL_OK); }
  ~OnDevice() { rl_device_close(device_); }
  OnDevice(const OnDevice &) = delete;
  OnDevice &operator=(const OnDevice &) = delete;

  template <class T>
  rl_tensor put(const std::vector<T> &values, int64_t rows = 0) {
    rl_tensor t{};
    const int64_t n = static_cast<int64_t>(values.size());
    t.dtype = std::is_same_v<T, float> ? RL_F32 : RL_I32;
    t.rank = rows ? 2 : 1;
    t.shape[0] = rows ? rows : n;
    t.shape[1] = rows ? n / rows : 0;
    t.stride[0] = rows ? n / rows : 1;
    t.stride[1] = rows ? 1 : 0;
    EXPECT_EQ(rl_buffer_alloc(&t.buffer, device_, n * 4), RL_OK) << rl_last_error();
    EXPECT_EQ(rl_copy_from_host(&t, values.data(), n * 4), RL_OK) << rl_last_error();
    return t;
  }
  template <class T>
  static std::vector<T> get(const rl_tensor &t) {
    std::vector<T> values(static_cast<size_t>(t.shape[0]));
    EXPECT_EQ(rl_copy_to_host(values.data(), &t, t.shape[0] * 4), RL_OK) << rl_last_error();
    return values;
  }

 private:
  rl_device device_ = 0;
};

TEST(Threads, DoNotChangeTheBitsOfOptimizerAndSampler) {
  struct Bits {
    Floats norm, param, m, v, logp;
    Ints ids;
    bool operator==(const Bits &) const = default;
  };
  const int64_t n = 300001, rows = 7, vocabulary = 3001;
  const Floats start = random_floats(n, 1), grad = random_floats(n, 2),
               logits = random_floats(rows * vocabulary, 3, RL_F32, 3);
  Ints streams(static_cast<size_t>(rows));
  std::iota(streams.begin(), streams.end(), 0);
  auto bits = [&](int32_t threads) {
    OnDevice d(threads);
    rl_tensor p = d.put(start), g = d.put(grad), m = d.put(Floats(start.size(), 0.0f)),
              v = d.put(Floats(start.size(), 0.0f)), norm = d.put(Floats{0});
    rl_adamw_config c{1e-3f, 0.9f, 0.999f, 1e-8f, 0.01f, 1, 1, 0, n - 1000};
    for (; c.step <= 3; c.step++) {
      EXPECT_EQ(rl_grad_norm(&norm, &g), RL_OK) << rl_last_error();
      EXPECT_EQ(rl_adamw(&p, nullptr, &m, &v, &g, &norm, &c), RL_OK) << rl_last_error();
    }
    rl_tensor l = d.put(logits, rows), ids = d.put(streams), lp = d.put(Floats(static_cast<size_t>(rows), 0.0f)),
              s = d.put(streams), t = d.put(streams);
    const rl_sample_config sc{0.8f, 200, 0.9f, 0, 5};
    EXPECT_EQ(rl_sample(&ids, &lp, &l, &s, &t, nullptr, nullptr, &sc), RL_OK) << rl_last_error();
    return Bits{OnDevice::get<float>(norm), OnDevice::get<float>(p),  OnDevice::get<float>(m),
                OnDevice::get<float>(v),    OnDevice::get<float>(lp), OnDevice::get<int32_t>(ids)};
  };
  const Bits one = bits(1);
  for (int32_t threads : {2, 3, 5}) EXPECT_TRUE(bits(threads) == one) << threads << " threads";
}

}  // namespace
}  // namespace rl::test
