// kl_penalty, shaped_rewards, gae, whiten, ppo_loss.
#include "support.h"

namespace rl::test {
namespace {

double at(const Floats &x, size_t i) { return static_cast<double>(x[i]); }

// ---- kl_penalty ----

TEST(KlPenalty, EveryKind) {
  for (int64_t n : {1, 7, 64, 1001}) {
    const Floats a = random_floats(n, 1, RL_F32, 2), b = random_floats(n, 2, RL_F32, 2);
    Tensor ta({n}, a), tb({n}, b), kl({n});
    for (int32_t kind : {RL_KL_K1, RL_KL_ABS, RL_KL_MSE, RL_KL_K3}) {
      RL_CHECK(rl_kl_penalty(kl, ta, tb, kind));
      std::vector<double> want;
      for (size_t i = 0; i < a.size(); i++) {
        const double d = at(a, i) - at(b, i);
        want.push_back(kind == RL_KL_K1    ? d
                       : kind == RL_KL_ABS ? std::abs(d)
                       : kind == RL_KL_MSE ? d * d / 2
                                           : std::exp(-d) - 1 + d);
      }
      expect_close(kl.get(), floats(want), 1e-7, 1e-6, "kl of kind " + std::to_string(kind));
    }
  }
}

TEST(KlPenalty, EqualPoliciesHaveNone) {
  Tensor a({9}, random_floats(9, 1)), kl({9});
  Tensor b({9}, a.get());
  for (int32_t kind : {RL_KL_K1, RL_KL_ABS, RL_KL_MSE, RL_KL_K3}) {
    RL_CHECK(rl_kl_penalty(kl, a, b, kind));
    EXPECT_EQ(kl.get(), Floats(9, 0.0f));
  }
}

TEST(KlPenalty, K3OfANearbyPolicyKeepsItsDigits) {
  // exp(-d) - 1 + d is d^2/2: twenty orders of magnitude below its terms.
  Tensor a({3}, Floats{1e-5f, -1e-5f, 1e-6f}), b({3}, Floats{0, 0, 0}), kl({3});
  RL_CHECK(rl_kl_penalty(kl, a, b, RL_KL_K3));
  const Floats got = kl.get();
  EXPECT_NEAR(static_cast<double>(got[0]), 5e-11, 5e-13);
  EXPECT_NEAR(static_cast<double>(got[1]), 5e-11, 5e-13);
  for (float v : got) EXPECT_GE(v, 0);
}

TEST(KlPenaltyErrors, NamesWhatIsWrong) {
  Tensor a({4}), b({4}), y({4}), c({5}), half({4}, RL_BF16), two({2, 2});
  expect_error(rl_kl_penalty(y, a, b, 4), RL_INVALID_ARGUMENT, {"kl_penalty", "kind", "4"});
  expect_error(rl_kl_penalty(y, a, b, -1), RL_INVALID_ARGUMENT, {"kind", "-1"});
  expect_error(rl_kl_penalty(y, a, c, 0), RL_INVALID_ARGUMENT, {"logpRef", "expected shape [4]", "found [5]"});
  expect_error(rl_kl_penalty(y, half, b, 0), RL_INVALID_ARGUMENT, {"logp", "expected dtype f32", "found bf16"});
  expect_error(rl_kl_penalty(y, two, b, 0), RL_INVALID_ARGUMENT, {"logp", "rank 1"});
  expect_error(rl_kl_penalty(nullptr, a, b, 0), RL_INVALID_ARGUMENT, {"kl", "null"});
  expect_error(rl_kl_penalty(a, a, b, 0), RL_INVALID_ARGUMENT, {"kl", "overlaps logp"});
}

// ---- shaped_rewards ----

TEST(ShapedRewards, ScoreComesAtTheLastToken) {
  const Ints cu = {0, 1, 4, 9};
  const Floats kl = random_floats(9, 1), scores = {10, 20, 30};
  Tensor tkl({9}, kl), ts({3}, scores), tcu({4}, cu), r({9});
  RL_CHECK(rl_shaped_rewards(r, tkl, ts, tcu, 0.05f));
  std::vector<double> want;
  for (size_t t = 0; t < 9; t++) want.push_back(-0.05 * at(kl, t) + (t == 0 ? 10 : t == 3 ? 20 : t == 8 ? 30 : 0));
  expect_close(r.get(), floats(want), 1e-6, 1e-6, "rewards");
  // No penalty: the scores and nothing else.
  RL_CHECK(rl_shaped_rewards(r, tkl, ts, tcu, 0));
  EXPECT_EQ(r.get(), (Floats{10, 0, 0, 20, 0, 0, 0, 0, 30}));
}

TEST(ShapedRewardsErrors, NamesWhatIsWrong) {
  Tensor kl({6}), r({6}, Floats(6, 5.0f)), s({2}, Floats{1, 2}), s3({3}, Floats{1, 2, 3}), cu({3}, Ints{0, 2, 6});
  RL_CHECK(rl_fill(kl, 0));
  expect_error(rl_shaped_rewards(r, kl, s3, cu, 1), RL_INVALID_ARGUMENT,
               {"shaped_rewards", "scores", "expected shape [2]", "found [3]"});
  for (const Ints &bad : {Ints{0, 0, 6}, Ints{0, 6, 6}}) {
    Tensor t({3}, bad);
    expect_error(rl_shaped_rewards(r, kl, s, t, 1), RL_INVALID_ARGUMENT, {"cu_seqlens", "empty"});
  }
  for (const Ints &bad :
       {Ints{1, 2, 6}, Ints{0, 2, 5}, Ints{0, 2, 7}, Ints{0, 7, 6}, Ints{0, -3, 6}, Ints{0, INT32_MIN, 6}}) {
    Tensor t({3}, bad);
    expect_error(rl_shaped_rewards(r, kl, s, t, 1), RL_INVALID_ARGUMENT, {"cu_seqlens["});
  }
  EXPECT_EQ(r.get(), Floats(6, 5.0f));
  expect_error(rl_shaped_rewards(r, nullptr, s, cu, 1), RL_INVALID_ARGUMENT, {"kl", "null"});
  expect_error(rl_shaped_rewards(kl, kl, s, cu, 1), RL_INVALID_ARGUMENT, {"rewards", "overlaps kl"});
}

// ---- gae ----

struct Episodes {
  Ints cu = {0, 1, 3, 10, 43, 44, 60};
  int64_t n = 60;
  Floats rewards = random_floats(60, 1), values = random_floats(60, 2);
};

TEST(Gae, IsTheWeightedSumOfTheDeltas) {
  const Episodes e;
  for (auto [gamma, lam] : {std::pair<double, double>{1, 0.95}, {0.99, 0.9}, {0.5, 0.5}, {1, 1}, {1, 0}, {0, 1}}) {
    const float g = static_cast<float>(gamma), l = static_cast<float>(lam);
    Tensor r({e.n}, e.rewards), v({e.n}, e.values), cu({7}, e.cu), a({e.n}), ret({e.n});
    RL_CHECK(rl_gae(a, ret, r, v, cu, g, l));
    std::vector<double> want(60), want_returns(60);
    for (size_t b = 0; b + 1 < e.cu.size(); b++) {
      const int32_t end = e.cu[b + 1];
      for (int32_t t = e.cu[b]; t < end; t++) {
        double sum = 0;
        for (int32_t s = t; s < end; s++) {
          const size_t i = static_cast<size_t>(s);
          const double next = s + 1 < end ? at(e.values, i + 1) : 0;
          sum += std::pow(static_cast<double>(g) * static_cast<double>(l), s - t) *
                 (at(e.rewards, i) + static_cast<double>(g) * next - at(e.values, i));
        }
        want[static_cast<size_t>(t)] = sum;
        want_returns[static_cast<size_t>(t)] = sum + at(e.values, static_cast<size_t>(t));
      }
    }
    expect_close(a.get(), floats(want), 1e-5, 1e-6, "advantages");
    expect_close(ret.get(), floats(want_returns), 1e-5, 1e-6, "returns");
  }
}

TEST(Gae, UndiscountedIsRewardToGoMinusValue) {
  const Episodes e;
  Tensor r({e.n}, e.rewards), v({e.n}, e.values), cu({7}, e.cu), a({e.n}), ret({e.n});
  RL_CHECK(rl_gae(a, ret, r, v, cu, 1, 1));
  std::vector<double> to_go(60);
  for (size_t b = 0; b + 1 < e.cu.size(); b++) {
    double sum = 0;
    for (int32_t t = e.cu[b + 1] - 1; t >= e.cu[b]; t--)
      to_go[static_cast<size_t>(t)] = sum += at(e.rewards, static_cast<size_t>(t));
  }
  expect_close(ret.get(), floats(to_go), 1e-5, 1e-6, "returns");
}

TEST(GaeErrors, NamesWhatIsWrong) {
  Tensor r({6}), v({6}), a({6}), ret({6}), v5({5}), cu({3}, Ints{0, 2, 6}), empty({3}, Ints{0, 0, 6}),
      far({3}, Ints{0, 9, 6});
  expect_error(rl_gae(a, ret, r, v5, cu, 1, 1), RL_INVALID_ARGUMENT,
               {"gae", "values", "expected shape [6]", "found [5]"});
  expect_error(rl_gae(a, ret, r, v, empty, 1, 1), RL_INVALID_ARGUMENT, {"cu_seqlens", "empty"});
  expect_error(rl_gae(a, ret, r, v, far, 1, 1), RL_INVALID_ARGUMENT, {"cu_seqlens[2] is 6"});
  expect_error(rl_gae(a, a, r, v, cu, 1, 1), RL_INVALID_ARGUMENT, {"advantages", "overlaps returns"});
  expect_error(rl_gae(nullptr, ret, r, v, cu, 1, 1), RL_INVALID_ARGUMENT, {"advantages", "null"});
}

// ---- whiten ----

TEST(Whiten, HasMeanZeroAndVarianceOne) {
  for (int64_t n : {2, 3, 17, 1000, 5000}) {
    Floats x = random_floats(n, 1, RL_F32, 3);
    for (float &v : x) v += 1000;
    double mean = 0, var = 0;
    for (float v : x) mean += static_cast<double>(v) / static_cast<double>(n);
    for (float v : x)
      var += (static_cast<double>(v) - mean) * (static_cast<double>(v) - mean) / static_cast<double>(n - 1);
    for (int32_t shift : {1, 0}) {
      Tensor t({n}, x), y({n});
      RL_CHECK(rl_whiten(y, t, shift));
      std::vector<double> want;
      for (float v : x) want.push_back((static_cast<double>(v) - mean) / std::sqrt(var + 1e-8) + (shift ? 0 : mean));
      const Floats got = y.get();
      expect_close(got, floats(want), 1e-6, 1e-6, "y");
      double m = 0, s = 0;
      for (float v : got) m += static_cast<double>(v) / static_cast<double>(n);
      for (float v : got) s += (static_cast<double>(v) - m) * (static_cast<double>(v) - m) / static_cast<double>(n - 1);
      EXPECT_NEAR(m, shift ? 0 : mean, shift ? 1e-6 : 1e-3);
      EXPECT_NEAR(s, 1, 1e-4);
      RL_CHECK(rl_whiten(t, t, shift));  // in place
      EXPECT_EQ(t.get(), got);
    }
  }
}

TEST(Whiten, OneElementAndEqualElements) {
  Tensor one({1}, Floats{42}), y({1}), same({5}, Floats(5, 3.0f)), z({5});
  for (int32_t shift : {0, 1}) {
    RL_CHECK(rl_whiten(y, one, shift));
    EXPECT_EQ(y.get(), Floats{42});
    RL_CHECK(rl_whiten(z, same, shift));
    EXPECT_EQ(z.get(), Floats(5, shift ? 0.0f : 3.0f));
  }
  Tensor none({0}), none2({0}), four({4});
  expect_error(rl_whiten(none, none2, 1), RL_INVALID_ARGUMENT, {"whiten", "x", "at least one element"});
  expect_error(rl_whiten(four, same, 1), RL_INVALID_ARGUMENT, {"y", "expected shape [5]", "found [4]"});
  expect_error(rl_whiten(nullptr, same, 1), RL_INVALID_ARGUMENT, {"y", "null"});
}

// ---- advantages ----

TEST(Advantages, AreTheFourOpsOneAfterTheOther) {
  // Sequences of one token, of a warp, of a block and of several.
  const Ints cu = {0, 1, 33, 161, 290, 805, 806};
  const int64_t n = 806;
  const Floats kl = random_floats(n, 1), values = random_floats(n, 2), scores = random_floats(6, 3, RL_F32, 3);
  Tensor tkl({n}, kl), tv({n}, values), ts({6}, scores), tcu({7}, cu), r({n}), a({n}), ret({n}), wr({n}), wa({n}),
      wret({n});
  for (int32_t whiten_rewards : {0, 1}) {
    for (int32_t whiten_advantages : {0, 1}) {
      const rl_advantages_config c{0.05f, 0.99f, 0.95f, whiten_rewards, whiten_advantages};
      RL_CHECK(rl_advantages(r, a, ret, tkl, ts, tv, tcu, &c));
      RL_CHECK(rl_shaped_rewards(wr, tkl, ts, tcu, c.beta));
      if (whiten_rewards) {
        RL_CHECK(rl_whiten(wr, wr, 0));
      }
      RL_CHECK(rl_gae(wa, wret, wr, tv, tcu, c.gamma, c.lam));
      if (whiten_advantages) {
        RL_CHECK(rl_whiten(wa, wa, 1));
      }
      expect_close(r.get(), wr.get(), 1e-6, 1e-6, "rewards");
      expect_close(a.get(), wa.get(), 1e-6, 1e-6, "advantages");
      expect_close(ret.get(), wret.get(), 1e-6, 1e-6, "returns");
    }
  }
}

TEST(Advantages, OneTokenIsWhitenedToItself) {
  Tensor kl({1}, Floats{0.5f}), s({1}, Floats{2}), v({1}, Floats{0.25f}), cu({2}, Ints{0, 1}), r({1}), a({1}), ret({1});
  const rl_advantages_config c{0.5f, 1, 1, 1, 1};
  RL_CHECK(rl_advantages(r, a, ret, kl, s, v, cu, &c));
  EXPECT_EQ(r.get(), Floats{1.75f});
  EXPECT_EQ(a.get(), Floats{1.5f});
  EXPECT_EQ(ret.get(), Floats{1.75f});
}

TEST(AdvantagesErrors, NamesWhatIsWrong) {
  Tensor kl({6}, Floats(6, 0.0f)), s({2}, Floats{1, 2}), v({6}, Floats(6, 0.0f)), cu({3}, Ints{0, 2, 6}), r({6}),
      a({6}), ret({6}), s3({3}), v5({5});
  const rl_advantages_config c{0.5f, 1, 1, 1, 1};
  expect_error(rl_advantages(r, a, ret, kl, s, v, cu, nullptr), RL_INVALID_ARGUMENT, {"advantages", "config", "null"});
  expect_error(rl_advantages(r, a, ret, kl, s3, v, cu, &c), RL_INVALID_ARGUMENT, {"scores", "expected shape [2]"});
  expect_error(rl_advantages(r, a, ret, kl, s, v5, cu, &c), RL_INVALID_ARGUMENT, {"values", "expected shape [6]"});
  expect_error(rl_advantages(r, a, a, kl, s, v, cu, &c), RL_INVALID_ARGUMENT, {"advantages", "overlaps returns"});
  for (const Ints &bad : {Ints{0, 0, 6}, Ints{0, 9, 6}, Ints{0, 2, 5}, Ints{0, INT32_MIN, 6}}) {
    Tensor t({3}, bad);
    expect_error(rl_advantages(r, a, ret, kl, s, v, t, &c), RL_INVALID_ARGUMENT, {"cu_seqlens"});
  }
}

// ---- ppo_loss ----

struct Ppo {
  Floats logp, old_logp, values, old_values, advantages, returns;
  rl_ppo_config c{0.2f, 0.2f, 0.1f, 0, 0, 0, 1, 0};

  explicit Ppo(int64_t n, float spread = 0.4f)
      : old_logp(random_floats(n, 2)),
        values(random_floats(n, 3)),
        old_values(random_floats(n, 4, RL_F32, 0.5f)),
        advantages(random_floats(n, 5)),
        returns(random_floats(n, 6)) {
    logp = random_floats(n, 1, RL_F32, spread);
    for (size_t i = 0; i < logp.size(); i++) {
      logp[i] += old_logp[i];
      old_values[i] += values[i];
    }
  }
  size_t size() const { return logp.size(); }
};

struct PpoResult {
  double policy = 0, value = 0, policy_clipped = 0, value_clipped = 0, approxkl = 0, policykl = 0, ratio = 0,
         ratio_max = 0, error = 0;
};

PpoResult reference(const Ppo &p, const std::vector<double> &logp, const std::vector<double> &values) {
  PpoResult r;
  const double n = static_cast<double>(p.size()), eps = static_cast<double>(p.c.cliprange),
               eps_v = static_cast<double>(p.c.cliprange_value);
  for (size_t i = 0; i < p.size(); i++) {
    const double raw = logp[i] - at(p.old_logp, i), bound = static_cast<double>(p.c.log_ratio_clamp);
    const double rho = std::exp(bound > 0 ? std::min(std::max(raw, -bound), bound) : raw), a = at(p.advantages, i);
    const double plain = -a * rho, clipped = -a * std::min(std::max(rho, 1 - eps), 1 + eps);
    double loss = std::max(plain, clipped);
    if (p.c.dual_clip > 1 && a < 0) loss = std::min(loss, static_cast<double>(p.c.dual_clip) * -a);
    const double old = at(p.old_values, i), v = values[i], target = at(p.returns, i);
    const double cut = std::min(std::max(v, old - eps_v), old + eps_v);
    const double l1 = (v - target) * (v - target), l2 = (cut - target) * (cut - target);
    r.policy += loss / n;
    r.value += 0.5 * std::max(l1, l2) / n;
    r.policy_clipped += (clipped > plain ? 1 : 0) / n;
    r.value_clipped += (l2 > l1 ? 1 : 0) / n;
    r.approxkl += 0.5 * raw * raw / n;
    r.policykl += -raw / n;
    r.ratio += rho / n;
    r.ratio_max = std::max(r.ratio_max, rho);
    r.error += l1 / n;
  }
  if (p.c.ratio_threshold > 0 && r.ratio > static_cast<double>(p.c.ratio_threshold)) r.policy = r.value = 0;
  return r;
}

struct PpoOutput {
  Floats stats, grad_logp, grad_values;
};

PpoOutput run(const Ppo &p) {
  const int64_t n = static_cast<int64_t>(p.size());
  Tensor logp({n}, p.logp), old({n}, p.old_logp), v({n}, p.values), ov({n}, p.old_values), a({n}, p.advantages),
      r({n}, p.returns);
  Tensor stats({RL_PPO_STATS}, Floats(RL_PPO_STATS, 99.0f)), gl({n}, Floats(p.size(), 9.0f)),
      gv({n}, Floats(p.size(), 9.0f));
  EXPECT_EQ(rl_ppo_loss(stats, gl, gv, logp, v, nullptr, old, ov, a, r, nullptr, &p.c), RL_OK) << rl_last_error();
  return {stats.get(), gl.get(), gv.get()};
}

void check(const Ppo &p) {
  const PpoOutput got = run(p);
  const std::vector<double> logp = doubles(p.logp), values = doubles(p.values);
  const PpoResult want = reference(p, logp, values);
  const double vf = static_cast<double>(p.c.vf_coef), n = static_cast<double>(p.size()),
               scale = static_cast<double>(p.c.grad_scale);
  auto mean = [n](const Floats &x) {
    double sum = 0;
    for (float v : x) sum += static_cast<double>(v);
    return sum / n;
  };
  double var = 0;
  for (float v : p.returns) var += std::pow(static_cast<double>(v) - mean(p.returns), 2) / (n - 1);
  const bool skipped = p.c.ratio_threshold > 0 && want.ratio > static_cast<double>(p.c.ratio_threshold);
  std::vector<double> stats(RL_PPO_STATS, 0);
  stats[RL_PPO_LOSS_POLICY] = want.policy;
  stats[RL_PPO_LOSS_VALUE] = want.value;
  stats[RL_PPO_LOSS_TOTAL] = want.policy + vf * want.value;
  stats[RL_PPO_POLICY_CLIPFRAC] = want.policy_clipped;
  stats[RL_PPO_VALUE_CLIPFRAC] = want.value_clipped;
  stats[RL_PPO_APPROXKL] = want.approxkl;
  stats[RL_PPO_POLICYKL] = want.policykl;
  stats[RL_PPO_RATIO_MEAN] = want.ratio;
  stats[RL_PPO_SKIPPED] = skipped ? 1 : 0;
  stats[RL_PPO_VALUE_ERROR] = want.error;
  stats[RL_PPO_RETURNS_MEAN] = mean(p.returns);
  stats[RL_PPO_RETURNS_VAR] = p.size() > 1 ? var : 0;
  stats[RL_PPO_VALUE_MEAN] = mean(p.values);
  stats[RL_PPO_ADVANTAGES_MEAN] = mean(p.advantages);
  stats[RL_PPO_RATIO_MAX] = want.ratio_max;
  expect_close(got.stats, floats(stats), 1e-6, 1e-6, "stats");

  auto total = [&](const std::vector<double> &l, const std::vector<double> &v) {
    const PpoResult r = reference(p, l, v);
    return scale * (r.policy + vf * r.value);
  };
  const Floats gl = central_differences(logp, [&](const std::vector<double> &x) { return total(x, values); }, 1e-6);
  const Floats gv = central_differences(values, [&](const std::vector<double> &x) { return total(logp, x); }, 1e-6);
  expect_close(got.grad_logp, gl, 1e-7, 1e-5, "gradLogp");
  expect_close(got.grad_values, gv, 1e-7, 1e-5, "gradValues");
}

TEST(PpoLoss, MatchesReferenceAndCentralDifferences) {
  for (int64_t n : {1, 2, 15, 16, 17, 200}) check(Ppo(n));
}

TEST(PpoLoss, EveryOption) {
  for (float clip : {0.05f, 0.2f, 10.0f}) {
    for (float clip_value : {0.05f, 0.2f, 10.0f}) {
      for (float bound : {0.0f, 0.3f}) {
        for (float dual : {0.0f, 1.1f, 3.0f}) {
          Ppo p(60, 0.8f);
          p.c = {clip, clip_value, 0.5f, 0, bound, dual, 4.0f, 0};
          check(p);
          if (testing::Test::HasFatalFailure()) return;
        }
      }
    }
  }
}

TEST(PpoLoss, BeyondTheThresholdNothingIsLearnt) {
  Ppo p(50);
  p.c.ratio_threshold = 10;
  check(p);
  EXPECT_EQ(run(p).stats[RL_PPO_SKIPPED], 0);
  for (float &v : p.logp) v += 4;  // a mean ratio of some e^4
  check(p);
  const PpoOutput got = run(p);
  EXPECT_EQ(got.stats[RL_PPO_SKIPPED], 1);
  EXPECT_EQ(got.stats[RL_PPO_LOSS_TOTAL], 0);
  EXPECT_GT(got.stats[RL_PPO_RATIO_MEAN], 10);
  EXPECT_EQ(got.grad_logp, Floats(50, 0.0f));
  EXPECT_EQ(got.grad_values, Floats(50, 0.0f));
  p.c.ratio_threshold = 0;
  check(p);
  EXPECT_EQ(run(p).stats[RL_PPO_SKIPPED], 0);
}

TEST(PpoLoss, AnUnchangedPolicyGivesMinusTheMeanAdvantage) {
  Ppo p(100);
  p.logp = p.old_logp;
  p.values = p.old_values;
  const PpoOutput got = run(p);
  double mean = 0;
  for (float a : p.advantages) mean += static_cast<double>(a) / 100;
  EXPECT_NEAR(static_cast<double>(got.stats[RL_PPO_LOSS_POLICY]), -mean, 1e-6);
  EXPECT_EQ(got.stats[RL_PPO_RATIO_MEAN], 1);
  EXPECT_EQ(got.stats[RL_PPO_POLICY_CLIPFRAC], 0);
  EXPECT_EQ(got.stats[RL_PPO_VALUE_CLIPFRAC], 0);
  EXPECT_EQ(got.stats[RL_PPO_APPROXKL], 0);
  for (size_t i = 0; i < 100; i++) {
    EXPECT_NEAR(static_cast<double>(got.grad_logp[i]), -at(p.advantages, i) / 100, 1e-8);
    EXPECT_NEAR(static_cast<double>(got.grad_values[i]), 0.1 * (at(p.values, i) - at(p.returns, i)) / 100, 1e-8);
  }
}

TEST(PpoLoss, StreamsOfGradientsAddUpToTheWholeBatch) {
  // Two halves, each with grad_scale 1/2, have the gradients of the whole.
  Ppo whole(40), half(40);
  const PpoOutput want = run(whole);
  for (Floats *x : {&half.logp, &half.old_logp, &half.values, &half.old_values, &half.advantages, &half.returns})
    x->resize(20);
  half.c.grad_scale = 0.5f;
  const PpoOutput got = run(half);
  expect_close(got.grad_logp, Floats(want.grad_logp.begin(), want.grad_logp.begin() + 20), 1e-8, 1e-6, "gradLogp");
}

// More tokens than one block takes, with the figures of the reference; and the skipping of them all.
TEST(PpoLoss, ManyTokens) {
  for (float threshold : {0.0f, 0.5f}) {
    Ppo p(4100);
    p.c.ratio_threshold = threshold;
    const PpoOutput got = run(p);
    const PpoResult want = reference(p, doubles(p.logp), doubles(p.values));
    auto stat = [&](int i) { return static_cast<double>(got.stats[static_cast<size_t>(i)]); };
    EXPECT_NEAR(stat(RL_PPO_LOSS_POLICY), want.policy, 1e-6);
    EXPECT_NEAR(stat(RL_PPO_LOSS_VALUE), want.value, 1e-6);
    EXPECT_NEAR(stat(RL_PPO_RATIO_MEAN), want.ratio, 1e-6);
    EXPECT_NEAR(stat(RL_PPO_RATIO_MAX), want.ratio_max, 1e-6);
    double mean = 0, var = 0;
    for (float r : p.returns) mean += static_cast<double>(r) / 4100;
    for (float r : p.returns) var += std::pow(static_cast<double>(r) - mean, 2) / 4099;
    EXPECT_NEAR(stat(RL_PPO_RETURNS_MEAN), mean, 1e-6);
    EXPECT_NEAR(stat(RL_PPO_RETURNS_VAR), var, 1e-6);
    EXPECT_EQ(stat(RL_PPO_SKIPPED), threshold > 0 ? 1 : 0);
    EXPECT_EQ(got.grad_logp == Floats(4100, 0.0f), threshold > 0);
  }
}

// A minibatch by its tokens' places in the batch equals the tensors gathered before.
TEST(PpoLoss, PicksByIndexAndTellsTheEntropy) {
  const int64_t n = 300, tokens = 90;
  const Ppo whole(n);
  Ints index;
  Ppo part(tokens);
  part.old_logp.clear(), part.old_values.clear(), part.advantages.clear(), part.returns.clear();
  for (int64_t t = 0; t < tokens; t++) {
    const size_t i = static_cast<size_t>((t * 7 + 3) % n);
    index.push_back(static_cast<int32_t>(i));
    part.old_logp.push_back(whole.old_logp[i]), part.old_values.push_back(whole.old_values[i]);
    part.advantages.push_back(whole.advantages[i]), part.returns.push_back(whole.returns[i]);
  }
  const PpoOutput want = run(part);
  const Floats entropy = random_floats(tokens, 9);
  double mean = 0;
  for (float e : entropy) mean += static_cast<double>(e) / static_cast<double>(tokens);
  Tensor logp({tokens}, part.logp), v({tokens}, part.values), e({tokens}, entropy), old({n}, whole.old_logp),
      ov({n}, whole.old_values), a({n}, whole.advantages), r({n}, whole.returns), at({tokens}, index);
  Tensor stats({RL_PPO_STATS}), gl({tokens}), gv({tokens});
  RL_CHECK(rl_ppo_loss(stats, gl, gv, logp, v, e, old, ov, a, r, at, &part.c));
  EXPECT_EQ(gl.get(), want.grad_logp);
  EXPECT_EQ(gv.get(), want.grad_values);
  Floats got = stats.get();
  EXPECT_NEAR(static_cast<double>(got[RL_PPO_ENTROPY]), mean, 1e-6);
  got[RL_PPO_ENTROPY] = 0;
  EXPECT_EQ(got, want.stats);
  for (int32_t bad : {static_cast<int32_t>(n), -1, INT32_MAX, INT32_MIN}) {
    index[40] = bad;
    Tensor wrong({tokens}, index);
    expect_error(rl_ppo_loss(stats, gl, gv, logp, v, e, old, ov, a, r, wrong, &part.c), RL_INVALID_ARGUMENT,
                 {"index[40] is", "0 to 299"});
  }
}

TEST(PpoLossErrors, NamesWhatIsWrong) {
  Tensor a({4}), b({4}), c({4}), d({4}), e({4}), f({4}), g({4}), h({4}), stats({RL_PPO_STATS}), small({15}), five({5});
  rl_ppo_config good{0.2f, 0.2f, 0.1f, 0, 0, 0, 1, 0}, bad = good;
  expect_error(rl_ppo_loss(stats, a, b, c, e, nullptr, d, f, g, h, nullptr, nullptr), RL_INVALID_ARGUMENT,
               {"ppo_loss", "config", "null"});
  expect_error(rl_ppo_loss(small, a, b, c, e, nullptr, d, f, g, h, nullptr, &good), RL_INVALID_ARGUMENT,
               {"stats", "expected shape [16]", "found [15]"});
  expect_error(rl_ppo_loss(stats, a, b, c, e, nullptr, five, f, g, h, nullptr, &good), RL_INVALID_ARGUMENT,
               {"oldLogp", "expected shape [4]", "found [5]"});
  expect_error(rl_ppo_loss(stats, a, a, c, e, nullptr, d, f, g, h, nullptr, &good), RL_INVALID_ARGUMENT,
               {"gradLogp", "overlaps gradValues"});
  expect_error(rl_ppo_loss(stats, nullptr, b, c, e, nullptr, d, f, g, h, nullptr, &good), RL_INVALID_ARGUMENT,
               {"gradLogp", "null"});
  bad.cliprange = 0;
  expect_error(rl_ppo_loss(stats, a, b, c, e, nullptr, d, f, g, h, nullptr, &bad), RL_INVALID_ARGUMENT,
               {"config.cliprange", "0"});
  bad = good;
  bad.cliprange_value = NAN;
  expect_error(rl_ppo_loss(stats, a, b, c, e, nullptr, d, f, g, h, nullptr, &bad), RL_INVALID_ARGUMENT,
               {"config.cliprange_value", "nan"});
  bad = good;
  bad.dual_clip = 0.5f;
  expect_error(rl_ppo_loss(stats, a, b, c, e, nullptr, d, f, g, h, nullptr, &bad), RL_INVALID_ARGUMENT,
               {"config.dual_clip", "0.5"});
}

}  // namespace
}  // namespace rl::test
