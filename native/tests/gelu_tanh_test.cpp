#include "support.h"

namespace rl::test {
namespace {

double gelu(double x) {
  return 0.5 * x * (1 + std::tanh(std::sqrt(2 / 3.14159265358979323846) * (x + 0.044715 * x * x * x)));
}

class GeluTanh : public testing::TestWithParam<std::tuple<int64_t, int64_t, int32_t>> {};

TEST_P(GeluTanh, MatchesReferenceAndCentralDifferences) {
  const auto [rows, n, dtype] = GetParam();
  const size_t total = static_cast<size_t>(rows * n);
  const Floats both = random_floats(rows * 2 * n, 1, dtype, 3), g = random_floats(rows * n, 2, dtype);
  const Floats x = slice(both, 2 * n, 0, n), up = slice(both, 2 * n, n, n);
  std::vector<double> plain(total), gated(total), gx(total), gx_gated(total), gu(total);
  for (size_t i = 0; i < total; i++) {
    const double v = static_cast<double>(x[i]), u = static_cast<double>(up[i]), d = static_cast<double>(g[i]);
    plain[i] = gelu(v);
    gated[i] = gelu(v) * u;
    gx[i] = d * (gelu(v + 1e-5) - gelu(v - 1e-5)) / 2e-5;
    gx_gated[i] = gx[i] * u;
    gu[i] = d * gelu(v);
  }
  Tensor tboth({rows, 2 * n}, both, dtype), tg({rows, n}, g, dtype), ty({rows, n}, dtype), tgboth({rows, 2 * n}, dtype);
  const rl_tensor vx = columns(tboth, 0, {rows, n}),
                  vup = columns(tboth, n, {rows, n});  // as a fused layer leaves them
  RL_CHECK(rl_gelu_tanh(ty, &vx, &vup));
  expect_matches(ty.get(), floats(gated), dtype, "gated y");
  RL_CHECK(rl_gelu_tanh(ty, &vx, nullptr));
  expect_matches(ty.get(), floats(plain), dtype, "y");

  const rl_tensor vgx = columns(tgboth, 0, {rows, n}), vgu = columns(tgboth, n, {rows, n});
  RL_CHECK(rl_gelu_tanh_backward(&vgx, &vgu, tg, &vx, &vup));
  expect_matches(slice(tgboth.get(), 2 * n, 0, n), floats(gx_gated), dtype, "gated gradX", true);
  expect_matches(slice(tgboth.get(), 2 * n, n, n), floats(gu), dtype, "gradUp", true);
  RL_CHECK(rl_gelu_tanh_backward(ty, nullptr, tg, &vx, nullptr));
  expect_matches(ty.get(), floats(gx), dtype, "gradX", true);
}

INSTANTIATE_TEST_SUITE_P(Shapes, GeluTanh,
                         testing::Combine(testing::Values(1, 3, 170), testing::Values(1, 15, 64, 131),
                                          testing::Values(RL_F32, RL_BF16)));

TEST(GeluTanh, FarFromZero) {
  const Floats x = {-3e38f, -1000, -20, -5, -1e-20f, 0, 1e-20f, 5, 20, 1000, 3e38f};
  const int64_t n = static_cast<int64_t>(x.size());
  Tensor tx({1, n}, x), tu({1, n}, Floats(x.size(), 1.0f)), ty({1, n}), tgx({1, n});
  RL_CHECK(rl_gelu_tanh(ty, tx, nullptr));
  RL_CHECK(rl_gelu_tanh_backward(tgx, nullptr, tu, tx, nullptr));
  const Floats y = ty.get(), gx = tgx.get();
  for (size_t i = 0; i < x.size(); i++) {
    const double v = static_cast<double>(x[i]), far = v < -6 ? 0 : v > 6 ? v : gelu(v);
    EXPECT_NEAR(static_cast<double>(y[i]), far, 1e-6 + 1e-5 * std::abs(far)) << x[i];
    const double slope = v < -6 ? 0 : v > 6 ? 1 : (gelu(v + 1e-5) - gelu(v - 1e-5)) / 2e-5;
    EXPECT_NEAR(static_cast<double>(gx[i]), slope, 1e-5) << x[i];
  }
  Tensor nan({1, 1}, Floats{std::nanf("")}), out({1, 1});
  RL_CHECK(rl_gelu_tanh(out, nan, nullptr));
  EXPECT_TRUE(std::isnan(out.get()[0]));
}

TEST(GeluTanhErrors, NamesWhatIsWrong) {
  Tensor a({3, 8}), b({3, 8}), y({3, 8}), z({3, 8}), half({3, 8}, RL_BF16), narrow({3, 7});
  expect_error(rl_gelu_tanh(nullptr, a, b), RL_INVALID_ARGUMENT, {"gelu_tanh", "y", "null"});
  expect_error(rl_gelu_tanh(y, a, half), RL_INVALID_ARGUMENT, {"up", "expected dtype f32", "found bf16"});
  expect_error(rl_gelu_tanh(y, a, narrow), RL_INVALID_ARGUMENT, {"up", "expected shape [3,8]", "found [3,7]"});
  expect_error(rl_gelu_tanh_backward(y, z, a, b, nullptr), RL_INVALID_ARGUMENT,
               {"gelu_tanh_backward", "gradUp", "expected it with up"});
}

}  // namespace
}  // namespace rl::test
