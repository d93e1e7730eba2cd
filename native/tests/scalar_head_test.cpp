#include "support.h"

namespace rl::test {
namespace {

class ScalarHead : public testing::TestWithParam<std::tuple<int64_t, int64_t, int32_t>> {};

TEST_P(ScalarHead, MatchesReference) {
  const auto [rows, h, dtype] = GetParam();
  const size_t n = static_cast<size_t>(h);
  const Floats x = random_floats(rows * h, 1, dtype), w = random_floats(h, 2), g = random_floats(rows, 3);
  Tensor tx({rows, h}, x, dtype), tw({h}, w), tg({rows}, g), bias({1}, Floats{0.5f}), y({rows}), gx({rows, h}, dtype);
  Tensor gw({h}, Floats(n, 1.0f)), gb({1}, Floats{2.0f});
  // Linear in x and w: the gradients follow from the definition.
  Floats want_y, want_gx;
  std::vector<double> want_gw(n, 1);
  double want_gb = 2;
  for (size_t t = 0; t < static_cast<size_t>(rows); t++) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
      sum += static_cast<double>(x[t * n + i]) * static_cast<double>(w[i]);
      want_gx.push_back(g[t] * w[i]);
      want_gw[i] += static_cast<double>(g[t]) * static_cast<double>(x[t * n + i]);
    }
    want_gb += static_cast<double>(g[t]);
    want_y.push_back(static_cast<float>(sum));
  }
  RL_CHECK(rl_scalar_head(y, tx, tw, nullptr));
  expect_close(y.get(), want_y, 2e-5, 1e-4, "y");
  for (float &v : want_y) v += 0.5f;
  RL_CHECK(rl_scalar_head(y, tx, tw, bias));
  expect_close(y.get(), want_y, 2e-5, 1e-4, "y with bias");
  RL_CHECK(rl_scalar_head_backward(gx, gw, gb, tg, tx, tw));
  expect_matches(gx.get(), want_gx, dtype, "gradX", true);
  expect_matches(gw.get(), Floats(want_gw.begin(), want_gw.end()), RL_F32, "gradW", true);
  EXPECT_NEAR(gb.get()[0], want_gb, 1e-4);
  RL_CHECK(rl_scalar_head_backward(nullptr, gw, nullptr, tg, tx, tw));
}

INSTANTIATE_TEST_SUITE_P(Shapes, ScalarHead,
                         testing::Combine(testing::Values(1, 3, 130), testing::Values(1, 15, 97, 576),
                                          testing::Values(RL_F32, RL_BF16)));

TEST(ScalarHeadErrors, NamesOpArgumentExpectedAndFound) {
  Tensor x({2, 4}), w({5}), good({4}), y({2}), gw({4}), gx({2, 3});
  expect_error(rl_scalar_head(y, x, w, nullptr), RL_INVALID_ARGUMENT,
               {"scalar_head", "w: expected shape [4], found [5]"});
  expect_error(rl_scalar_head(y, x, good, good), RL_INVALID_ARGUMENT, {"bias: expected shape [1], found [4]"});
  expect_error(rl_scalar_head_backward(gx, gw, nullptr, y, x, good), RL_INVALID_ARGUMENT,
               {"scalar_head_backward", "gradX: expected shape [2,4], found [2,3]"});
  expect_error(rl_scalar_head_backward(nullptr, nullptr, nullptr, y, x, good), RL_INVALID_ARGUMENT, {"gradW", "null"});
}

}  // namespace
}  // namespace rl::test
