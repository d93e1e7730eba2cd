// grad_norm and adamw.
#include "support.h"

namespace rl::test {
namespace {

TEST(GradNorm, IsTheRootOfTheSquares) {
  for (int64_t n : {0, 1, 7, 1000, 65536, 65537, 300001}) {
    const Floats x = random_floats(n, 1);
    double sum = 0;
    for (float v : x) sum += static_cast<double>(v) * static_cast<double>(v);
    Tensor t({n}, x), norm({1});
    RL_CHECK(rl_grad_norm(norm, t));
    EXPECT_NEAR(static_cast<double>(norm.get()[0]), std::sqrt(sum), 1e-7 * std::sqrt(sum)) << n;
  }
}

TEST(GradNorm, NeitherOverflowsNorForgetsSmallNumbers) {
  Tensor big({4}, Floats(4, 1e38f)), norm({1});
  RL_CHECK(rl_grad_norm(norm, big));
  EXPECT_FLOAT_EQ(norm.get()[0], 2e38f);
  Tensor small({4}, Floats(4, 1e-38f));
  RL_CHECK(rl_grad_norm(norm, small));
  EXPECT_FLOAT_EQ(norm.get()[0], 2e-38f);
  Floats mixed(1 << 20, 1e-3f);
  mixed[0] = 1000;
  Tensor tall({1 << 20}, mixed);
  RL_CHECK(rl_grad_norm(norm, tall));
  EXPECT_NEAR(static_cast<double>(norm.get()[0]), std::sqrt(1e6 + ((1 << 20) - 1) * 1e-6), 1e-4);
  Tensor nan({3}, Floats{1, NAN, 1});
  RL_CHECK(rl_grad_norm(norm, nan));
  EXPECT_TRUE(std::isnan(norm.get()[0]));
  // Any shape, any number of threads: same bits.
  const Floats x = random_floats(200000, 2);
  Tensor wide({400, 500}, x), flat({200000}, x), other({1});
  RL_CHECK(rl_grad_norm(norm, wide));
  RL_CHECK(rl_grad_norm(other, flat));
  EXPECT_EQ(norm.get(), other.get());
}

struct State {
  std::vector<double> p, m, v;
};

/// torch.optim.AdamW's single-tensor step, after clip_grad_norm_.
void step(State &s, const std::vector<double> &grad, const rl_adamw_config &c, const double *norm) {
  double clip = 1;
  if (norm) clip = std::min(1.0, static_cast<double>(c.max_grad_norm) / (*norm + 1e-6));
  const double lr = static_cast<double>(c.lr), b1 = static_cast<double>(c.beta1), b2 = static_cast<double>(c.beta2);
  const double correction1 = 1 - std::pow(b1, c.step), correction2 = 1 - std::pow(b2, c.step);
  for (size_t i = 0; i < grad.size(); i++) {
    const double g = grad[i] * clip;
    if (static_cast<int64_t>(i) < c.decayed) s.p[i] *= 1 - lr * static_cast<double>(c.weight_decay);
    s.m[i] += (g - s.m[i]) * (1 - b1);
    s.v[i] = b2 * s.v[i] + (1 - b2) * g * g;
    s.p[i] -= lr / correction1 * s.m[i] / (std::sqrt(s.v[i]) / std::sqrt(correction2) + static_cast<double>(c.eps));
  }
}

class AdamW : public testing::TestWithParam<std::tuple<int64_t, float, float>> {};

TEST_P(AdamW, FollowsTorchForManySteps) {
  const auto [n, decay, most] = GetParam();
  const Floats start = random_floats(n, 1);
  State want{doubles(start), std::vector<double>(start.size(), 0), std::vector<double>(start.size(), 0)};
  Tensor p({n}, start), m({n}, Floats(start.size(), 0.0f)), v({n}, Floats(start.size(), 0.0f)), grad({n}), norm({1}),
      rounded({n}, RL_BF16);
  rl_adamw_config c{1e-2f, 0.9f, 0.999f, 1e-8f, decay, most, 0, 0, n - n / 3};
  for (c.step = 1; c.step <= 20; c.step++) {
    const Floats g = random_floats(n, static_cast<uint32_t>(100 + c.step), RL_F32, c.step % 3 ? 0.1f : 5.0f);
    grad.set(g);
    double sum = 0;
    for (float x : g) sum += static_cast<double>(x) * static_cast<double>(x);
    const double length = std::sqrt(sum);
    RL_CHECK(rl_grad_norm(norm, grad));
    RL_CHECK(rl_adamw(p, rounded, m, v, grad, most > 0 ? static_cast<const rl_tensor *>(norm) : nullptr, &c));
    step(want, doubles(g), c, most > 0 ? &length : nullptr);
    EXPECT_EQ(grad.get(), Floats(g.size(), 0.0f)) << "grad is to be ready for the next gradient";
  }
  expect_close(m.get(), floats(want.m), 1e-6, 1e-5, "m");
  expect_close(v.get(), floats(want.v), 1e-7, 1e-5, "v");
  expect_close(p.get(), floats(want.p), 2e-6, 1e-5, "param");
  Floats nearest = p.get();
  for (float &x : nearest) x = bf16_to_f32(f32_to_bf16(x));
  EXPECT_EQ(rounded.get(), nearest);
}

INSTANTIATE_TEST_SUITE_P(Options, AdamW,
                         testing::Combine(testing::Values(1, 3, 15, 16, 17, 1000, 40000), testing::Values(0.0f, 0.1f),
                                          testing::Values(0.0f, 1.0f)));

TEST(AdamW, FirstStepIsTheSignOfTheGradient) {
  Tensor p({3}, Floats{1, 1, 1}), m({3}, Floats(3, 0.0f)), v({3}, Floats(3, 0.0f)), g({3}, Floats{5, -1e-3f, 0});
  const rl_adamw_config c{0.125f, 0.9f, 0.999f, 1e-8f, 0, 0, 1, 0, 3};
  RL_CHECK(rl_adamw(p, nullptr, m, v, g, nullptr, &c));
  expect_close(p.get(), {0.875f, 1.125f, 1}, 1e-5, 0, "param");
}

TEST(AdamW, ANormThatIsNoNumberChangesNothing) {
  for (float bad : {NAN, INFINITY}) {
    for (float most : {0.0f, 1.0f}) {
      const Floats start{1, 2, 3, 4, 5}, gradient{1, bad, 1, 2, 3};
      Tensor p({5}, start), m({5}, start), v({5}, start), g({5}, gradient), norm({1}), rounded({5}, start, RL_BF16);
      const rl_adamw_config c{0.1f, 0.9f, 0.999f, 1e-8f, 0.1f, most, 1, 0, 5};
      RL_CHECK(rl_grad_norm(norm, g));
      RL_CHECK(rl_adamw(p, rounded, m, v, g, norm, &c));
      for (const Tensor *t : {&p, &m, &v, &rounded}) EXPECT_EQ(t->get(), start);
      EXPECT_EQ(g.get()[3], 2);
    }
  }
}

// Views at each offset within 16 bytes: nothing beside them moves, and the bits are those of aligned ones.
TEST(AdamW, AnyAlignment) {
  const int64_t n = 37;
  const rl_adamw_config c{1e-2f, 0.9f, 0.999f, 1e-8f, 0.1f, 0, 3, 0, 20};
  Floats want;
  for (int64_t from : {0, 1, 2, 3}) {
    Floats before(50, 7.0f);
    const Floats start = random_floats(n, 1);
    std::copy(start.begin(), start.end(), before.begin() + from);
    Tensor p({50}, before), m({50}, Floats(50, 0.5f)), v({50}, Floats(50, 0.25f)), g({n}, random_floats(n, 2)),
        rounded({50}, Floats(50, 7.0f), RL_BF16);
    auto part = [&](Tensor &t) {
      rl_tensor view = t.raw();
      view.shape[0] = n;
      view.offset = from * (view.dtype == RL_BF16 ? 2 : 4);
      return view;
    };
    const rl_tensor vp = part(p), vm = part(m), vv = part(v), vr = part(rounded);
    RL_CHECK(rl_adamw(&vp, &vr, &vm, &vv, g, nullptr, &c));
    const Floats got = p.get(), mine(got.begin() + from, got.begin() + from + n);
    if (from == 0) want = mine;
    EXPECT_EQ(mine, want) << from;
    for (int64_t i = 0; i < 50; i++) {
      if (i >= from && i < from + n) continue;
      EXPECT_EQ(got[static_cast<size_t>(i)], 7.0f);
      EXPECT_EQ(rounded.get()[static_cast<size_t>(i)], 7.0f);
    }
  }
}

TEST(AdamWErrors, NamesWhatIsWrong) {
  Tensor p({4}), m({4}), v({4}), g({4}), g5({5}), norm({1}), two({2}), half({4}, RL_BF16), wide({4, 6}), m3({4, 3}),
      v3({4, 3}), g3({4, 3});
  rl_adamw_config good{1e-3f, 0.9f, 0.999f, 1e-8f, 0, 0, 1, 0, 4}, bad = good;
  expect_error(rl_adamw(p, nullptr, m, v, g, nullptr, nullptr), RL_INVALID_ARGUMENT, {"adamw", "config", "null"});
  expect_error(rl_adamw(p, nullptr, m, v, g5, nullptr, &good), RL_INVALID_ARGUMENT,
               {"grad", "expected shape [4]", "found [5]"});
  expect_error(rl_adamw(half, nullptr, m, v, g, nullptr, &good), RL_INVALID_ARGUMENT,
               {"param", "expected dtype f32", "found bf16"});
  expect_error(rl_adamw(p, nullptr, m, m, g, nullptr, &good), RL_INVALID_ARGUMENT, {"m", "overlaps v"});
  expect_error(rl_adamw(p, nullptr, m, v, g, two, &good), RL_INVALID_ARGUMENT,
               {"norm", "expected shape [1]", "found [2]"});
  const rl_tensor strided = columns(wide, 0, {4, 3});
  expect_error(rl_adamw(&strided, nullptr, m3, v3, g3, nullptr, &good), RL_INVALID_ARGUMENT, {"param", "dense"});
  bad.max_grad_norm = 1;
  expect_error(rl_adamw(p, nullptr, m, v, g, nullptr, &bad), RL_INVALID_ARGUMENT, {"norm", "max_grad_norm"});
  bad = good;
  bad.decayed = 5;
  expect_error(rl_adamw(p, nullptr, m, v, g, nullptr, &bad), RL_INVALID_ARGUMENT, {"config.decayed", "0 to 4", "5"});
  expect_error(rl_adamw(p, g5, m, v, g, nullptr, &good), RL_INVALID_ARGUMENT, {"rounded", "expected dtype bf16"});
  bad = good;
  bad.step = 0;
  expect_error(rl_adamw(p, nullptr, m, v, g, nullptr, &bad), RL_INVALID_ARGUMENT, {"config.step", "0"});
  bad = good;
  bad.beta2 = 1;
  expect_error(rl_adamw(p, nullptr, m, v, g, nullptr, &bad), RL_INVALID_ARGUMENT, {"config.beta1, beta2", "1"});
  expect_error(rl_grad_norm(two, p), RL_INVALID_ARGUMENT, {"grad_norm", "norm", "found [2]"});
  expect_error(rl_grad_norm(norm, half), RL_INVALID_ARGUMENT, {"x", "found bf16"});
  expect_error(rl_grad_norm(norm, &strided), RL_INVALID_ARGUMENT, {"x", "dense"});
  expect_error(rl_grad_norm(nullptr, p), RL_INVALID_ARGUMENT, {"norm", "null"});
}

}  // namespace
}  // namespace rl::test
