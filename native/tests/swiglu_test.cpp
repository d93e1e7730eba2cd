#include "support.h"

namespace rl::test {
namespace {

double silu(double x) { return x / (1 + std::exp(-x)); }

class Swiglu : public testing::TestWithParam<std::tuple<int64_t, int64_t, int32_t>> {};

TEST_P(Swiglu, MatchesReferenceAndCentralDifferences) {
  const auto [rows, n, dtype] = GetParam();
  const size_t total = static_cast<size_t>(rows * n);
  const Floats both = random_floats(rows * 2 * n, 1, dtype, 3), g = random_floats(rows * n, 2, dtype);
  const Floats gate = slice(both, 2 * n, 0, n), up = slice(both, 2 * n, n, n);
  Tensor tboth({rows, 2 * n}, both, dtype), tg({rows, n}, g, dtype), ty({rows, n}, dtype);
  const rl_tensor vgate = columns(tboth, 0, {rows, n}),
                  vup = columns(tboth, n, {rows, n});  // as a fused layer leaves them
  RL_CHECK(rl_swiglu(ty, &vgate, &vup));
  std::vector<double> y(total);
  for (size_t i = 0; i < total; i++) y[i] = silu(static_cast<double>(gate[i])) * static_cast<double>(up[i]);
  expect_matches(ty.get(), floats(y), dtype, "y");

  Tensor tgboth({rows, 2 * n}, dtype), tgate({rows, n}, gate, dtype), tup({rows, n}, up, dtype);
  const rl_tensor vgg = columns(tgboth, 0, {rows, n}), vgu = columns(tgboth, n, {rows, n});
  RL_CHECK(rl_swiglu_backward(&vgg, &vgu, tg, tgate, tup));
  // Element by element: one difference quotient each.
  std::vector<double> gg(total), gu(total);
  for (size_t i = 0; i < total; i++) {
    const double x = static_cast<double>(gate[i]), d = static_cast<double>(g[i]);
    gg[i] = d * static_cast<double>(up[i]) * (silu(x + 1e-5) - silu(x - 1e-5)) / 2e-5;
    gu[i] = d * silu(x);
  }
  expect_matches(slice(tgboth.get(), 2 * n, 0, n), floats(gg), dtype, "gradGate", true);
  expect_matches(slice(tgboth.get(), 2 * n, n, n), floats(gu), dtype, "gradUp", true);
}

INSTANTIATE_TEST_SUITE_P(Shapes, Swiglu,
                         testing::Combine(testing::Values(1, 3, 170), testing::Values(1, 15, 64, 131),
                                          testing::Values(RL_F32, RL_BF16)));

TEST(Swiglu, FarFromZero) {
  const Floats gate = {-1000, -104, -90, -88, -20, -1e-20f, 0, 1e-20f, 20, 88, 90, 1000, 3e38f, -3e38f};
  const int64_t n = static_cast<int64_t>(gate.size());
  Tensor tg({1, n}, gate), tu({1, n}, Floats(gate.size(), 1.0f)), ty({1, n}), tgg({1, n}), tgu({1, n});
  RL_CHECK(rl_swiglu(ty, tg, tu));
  RL_CHECK(rl_swiglu_backward(tgg, tgu, tu, tg, tu));
  const Floats y = ty.get(), gg = tgg.get(), gu = tgu.get();
  for (size_t i = 0; i < gate.size(); i++) {
    const double x = static_cast<double>(gate[i]), s = 1 / (1 + std::exp(-x));
    EXPECT_NEAR(static_cast<double>(y[i]), x * s, 1e-6 + 1e-5 * std::abs(x * s)) << gate[i];
    EXPECT_NEAR(static_cast<double>(gu[i]), x * s, 1e-6 + 1e-5 * std::abs(x * s)) << gate[i];
    EXPECT_NEAR(static_cast<double>(gg[i]), x < -700 ? 0 : x > 700 ? 1 : s * (1 + x * (1 - s)), 1e-5) << gate[i];
  }
}

TEST(SwigluErrors, NamesWhatIsWrong) {
  Tensor a({3, 8}), b({3, 8}), y({3, 8}), z({3, 8}), half({3, 8}, RL_BF16), narrow({3, 7});
  expect_error(rl_swiglu(nullptr, a, b), RL_INVALID_ARGUMENT, {"swiglu", "y", "null"});
  expect_error(rl_swiglu(y, a, nullptr), RL_INVALID_ARGUMENT, {"up", "null"});
  expect_error(rl_swiglu(y, a, half), RL_INVALID_ARGUMENT, {"up", "expected dtype f32", "found bf16"});
  expect_error(rl_swiglu(half, a, b), RL_INVALID_ARGUMENT, {"y", "expected dtype f32", "found bf16"});
  expect_error(rl_swiglu(y, a, narrow), RL_INVALID_ARGUMENT, {"up", "expected shape [3,8]", "found [3,7]"});
  expect_error(rl_swiglu_backward(y, nullptr, a, b, b), RL_INVALID_ARGUMENT, {"swiglu_backward", "gradUp", "null"});
  expect_error(rl_swiglu_backward(y, z, narrow, a, b), RL_INVALID_ARGUMENT, {"gradY", "expected shape [3,8]"});
}

}  // namespace
}  // namespace rl::test
