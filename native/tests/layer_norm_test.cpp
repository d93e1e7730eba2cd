#include "support.h"

namespace rl::test {
namespace {

std::vector<double> reference(const std::vector<double> &x, const std::vector<double> &w, const std::vector<double> &b,
                              double eps) {
  const size_t n = w.size();
  std::vector<double> y(x.size());
  for (size_t t = 0; t < x.size() / n; t++) {
    double sum = 0, squares = 0;
    for (size_t i = 0; i < n; i++) sum += x[t * n + i];
    const double mean = sum / static_cast<double>(n);
    for (size_t i = 0; i < n; i++) squares += (x[t * n + i] - mean) * (x[t * n + i] - mean);
    const double s = 1 / std::sqrt(squares / static_cast<double>(n) + eps);
    for (size_t i = 0; i < n; i++) y[t * n + i] = w[i] * (x[t * n + i] - mean) * s + b[i];
  }
  return y;
}

class LayerNorm : public testing::TestWithParam<std::tuple<int64_t, int64_t, int32_t>> {};

TEST_P(LayerNorm, MatchesReferenceAndCentralDifferences) {
  const auto [rows, n, dtype] = GetParam();
  const float eps =
      1e-2f;  // a row of one element has no variance: a smaller eps would magnify the rounding of its mean
  const Floats x = random_floats(rows * n, 1, dtype), w = random_floats(n, 2), b = random_floats(n, 3),
               g = random_floats(rows * n, 4, dtype), ones(static_cast<size_t>(n), 1.0f);
  Tensor tx({rows, n}, x, dtype), tw({n}, w), tb({n}, b), tg({rows, n}, g, dtype), ty({rows, n}, dtype),
      tgx({rows, n}, dtype), tgw({n}, ones), tgb({n}, ones);  // parameter gradients accumulate: they start at 1

  RL_CHECK(rl_layer_norm(ty, tx, tw, tb, eps));
  const double e = static_cast<double>(eps);
  expect_matches(ty.get(), floats(reference(doubles(x), doubles(w), doubles(b), e)), dtype, "y");

  auto loss = [&](const std::vector<double> &vx, const std::vector<double> &vw, const std::vector<double> &vb) {
    const std::vector<double> out = reference(vx, vw, vb, e);
    double sum = 0;
    for (size_t i = 0; i < out.size(); i++) sum += out[i] * static_cast<double>(g[i]);
    return sum;
  };
  RL_CHECK(rl_layer_norm_backward(tgx, tgw, tgb, tg, tx, tw, eps));
  const Floats gx =
      central_differences(doubles(x), [&](const std::vector<double> &v) { return loss(v, doubles(w), doubles(b)); });
  expect_matches(tgx.get(), gx, dtype, "gradX", true);
  Floats gw =
      central_differences(doubles(w), [&](const std::vector<double> &v) { return loss(doubles(x), v, doubles(b)); });
  Floats gb =
      central_differences(doubles(b), [&](const std::vector<double> &v) { return loss(doubles(x), doubles(w), v); });
  for (float &v : gw) v += 1;
  for (float &v : gb) v += 1;
  expect_matches(tgw.get(), gw, dtype, "gradW", true);
  expect_matches(tgb.get(), gb, dtype, "gradBias", true);

  RL_CHECK(rl_layer_norm_backward(tgx, nullptr, nullptr, tg, tx, tw, eps));  // frozen parameters
  expect_matches(tgx.get(), gx, dtype, "gradX alone", true);
}

INSTANTIATE_TEST_SUITE_P(Shapes, LayerNorm,
                         testing::Combine(testing::Values(1, 3, 17), testing::Values(2, 15, 64, 97),
                                          testing::Values(RL_F32, RL_BF16)));

TEST(LayerNorm, FarFromZero) {  // the variance of numbers near 1000 keeps its digits
  const Floats x = {1000, 1001, 1002, 1003}, w(4, 1.0f), b(4, 0.0f);
  Tensor tx({1, 4}, x), tw({4}, w), tb({4}, b), ty({1, 4});
  RL_CHECK(rl_layer_norm(ty, tx, tw, tb, 0));
  const float s = 1 / std::sqrt(1.25f);
  expect_close(ty.get(), {-1.5f * s, -0.5f * s, 0.5f * s, 1.5f * s}, 1e-5, 0, "y");
}

TEST(LayerNormErrors, NamesOpArgumentExpectedAndFound) {
  Tensor x({3, 8}), y({3, 8}), w({8}), b({7}), g({3, 8});
  expect_error(rl_layer_norm(y, x, w, b, 1e-5f), RL_INVALID_ARGUMENT,
               {"layer_norm", "bias", "expected shape [8]", "found [7]"});
  expect_error(rl_layer_norm(y, x, w, nullptr, 1e-5f), RL_INVALID_ARGUMENT, {"bias", "null"});
  expect_error(rl_layer_norm(y, x, w, w, -1), RL_INVALID_ARGUMENT, {"eps"});
  expect_error(rl_layer_norm_backward(y, w, nullptr, g, x, w, 1e-5f), RL_INVALID_ARGUMENT,
               {"layer_norm_backward", "gradBias", "expected it with gradW"});
}

}  // namespace
}  // namespace rl::test
