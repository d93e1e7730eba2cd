#include "support.h"

namespace rl::test {
namespace {

std::vector<double> reference(const std::vector<double> &x, const std::vector<double> &w, double eps) {
  const size_t n = w.size();
  std::vector<double> y(x.size());
  for (size_t t = 0; t < x.size() / n; t++) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += x[t * n + i] * x[t * n + i];
    const double s = 1 / std::sqrt(sum / static_cast<double>(n) + eps);
    for (size_t i = 0; i < n; i++) y[t * n + i] = w[i] * x[t * n + i] * s;
  }
  return y;
}

class RmsNorm : public testing::TestWithParam<std::tuple<int64_t, int64_t, int32_t>> {};

TEST_P(RmsNorm, MatchesReferenceAndCentralDifferences) {
  const auto [rows, n, dtype] = GetParam();
  const float eps = 1e-5f;
  const Floats x = random_floats(rows * n, 1, dtype), w = random_floats(n, 2), g = random_floats(rows * n, 3, dtype);
  Tensor tx({rows, n}, x, dtype), tw({n}, w), tg({rows, n}, g, dtype), ty({rows, n}, dtype), tgx({rows, n}, dtype);
  Tensor tgw({n}, Floats(static_cast<size_t>(n), 1.0f));  // gradW accumulates: it starts at 1

  RL_CHECK(rl_rms_norm(ty, tx, tw, eps));
  const std::vector<double> y = reference(doubles(x), doubles(w), eps);
  expect_matches(ty.get(), Floats(y.begin(), y.end()), dtype, "y");

  RL_CHECK(rl_rms_norm_backward(tgx, tgw, tg, tx, tw, eps));
  auto loss_of_x = [&](const std::vector<double> &v) {
    const std::vector<double> out = reference(v, doubles(w), eps);
    double sum = 0;
    for (size_t i = 0; i < out.size(); i++) sum += out[i] * static_cast<double>(g[i]);
    return sum;
  };
  auto loss_of_w = [&](const std::vector<double> &v) {
    const std::vector<double> out = reference(doubles(x), v, eps);
    double sum = 0;
    for (size_t i = 0; i < out.size(); i++) sum += out[i] * static_cast<double>(g[i]);
    return sum;
  };
  expect_matches(tgx.get(), central_differences(doubles(x), loss_of_x), dtype, "gradX", true);
  Floats want = central_differences(doubles(w), loss_of_w);
  for (float &v : want) v += 1;
  expect_matches(tgw.get(), want, dtype, "gradW", true);
}

INSTANTIATE_TEST_SUITE_P(Shapes, RmsNorm,
                         testing::Combine(testing::Values(1, 3, 17), testing::Values(1, 15, 64, 97),
                                          testing::Values(RL_F32, RL_BF16)));

// q and k of a joined projection [T, (heads + 1) * n]: each head is a vector of its own, rows are strided.
TEST(RmsNorm, OfEachHeadEqualsRowsOfHeads) {
  for (int32_t dtype : {RL_F32, RL_BF16}) {
    const int64_t rows = 9, heads = 3, n = 20, width = (heads + 1) * n;
    const Floats wide = random_floats(rows * width, 1, dtype), x = slice(wide, width, 0, heads * n),
                 w = random_floats(n, 2), g = random_floats(rows * heads * n, 3, dtype);
    Tensor tx({rows * heads, n}, x, dtype), tg({rows * heads, n}, g, dtype), tw({n}, w), ty({rows * heads, n}, dtype),
        tgx({rows * heads, n}, dtype), tgw({n}, Floats(static_cast<size_t>(n), 0.0f));
    RL_CHECK(rl_rms_norm(ty, tx, tw, 1e-5f));
    RL_CHECK(rl_rms_norm_backward(tgx, tgw, tg, tx, tw, 1e-5f));

    Tensor twide({rows, width}, wide, dtype), twideY({rows, width}, wide, dtype), tg3({rows, heads, n}, g, dtype),
        tgw3({n}, Floats(static_cast<size_t>(n), 0.0f));
    const rl_tensor vx = columns(twide, 0, {rows, heads, n}), vy = columns(twideY, 0, {rows, heads, n});
    RL_CHECK(rl_rms_norm(&vy, &vx, tw, 1e-5f));
    EXPECT_EQ(slice(twideY.get(), width, 0, heads * n), ty.get());
    EXPECT_EQ(slice(twideY.get(), width, heads * n, n), slice(wide, width, heads * n, n));
    RL_CHECK(rl_rms_norm_backward(&vy, tgw3, tg3, &vx, tw, 1e-5f));
    EXPECT_EQ(slice(twideY.get(), width, 0, heads * n), tgx.get());
    EXPECT_EQ(tgw3.get(), tgw.get());
  }
}

// Wherever a row begins, and however long it is: the same bits, and nothing beside it moves.
TEST(RmsNorm, AnyAlignmentGivesTheSameBits) {
  for (int32_t dtype : {RL_F32, RL_BF16}) {
    for (int64_t n : {15, 16, 17, 2051}) {
      const int64_t rows = 3, size = rows * n;
      const Floats x = random_floats(size, 1, dtype), w = random_floats(n, 2), g = random_floats(size, 3, dtype);
      Tensor tx({rows, n}, x, dtype), tw({n}, w), tg({rows, n}, g, dtype), ty({rows, n}, dtype), tgx({rows, n}, dtype),
          tgw({n}, Floats(static_cast<size_t>(n), 0.0f));
      RL_CHECK(rl_rms_norm(ty, tx, tw, 1e-5f));
      RL_CHECK(rl_rms_norm_backward(tgx, tgw, tg, tx, tw, 1e-5f));
      for (int64_t from : {0, 1, 2, 8}) {
        const int64_t width = (n + 23) / 8 * 8;
        Tensor wx({rows, width}, Floats(static_cast<size_t>(rows * width), 5.0f), dtype),
            wy({rows, width}, Floats(static_cast<size_t>(rows * width), 3.0f), dtype),
            gw({n}, Floats(static_cast<size_t>(n), 0.0f));
        const rl_tensor vx = columns(wx, from, {rows, n}), vy = columns(wy, from, {rows, n});
        RL_CHECK(rl_copy(&vx, tx));
        RL_CHECK(rl_rms_norm(&vy, &vx, tw, 1e-5f));
        EXPECT_EQ(slice(wy.get(), width, from, n), ty.get()) << n << " from " << from;
        RL_CHECK(rl_rms_norm_backward(&vy, gw, tg, &vx, tw, 1e-5f));
        EXPECT_EQ(slice(wy.get(), width, from, n), tgx.get()) << n << " from " << from;
        EXPECT_EQ(gw.get(), tgw.get());
        EXPECT_EQ(slice(wy.get(), width, from + n, width - from - n),
                  Floats(static_cast<size_t>(rows * (width - from - n)), 3.0f));
      }
    }
  }
}

TEST(RmsNormErrors, NamesOpArgumentExpectedAndFound) {
  Tensor x({3, 8}), y({3, 8}), w({7});
  expect_error(rl_rms_norm(y, x, w, 1e-5f), RL_INVALID_ARGUMENT, {"rms_norm", "w", "expected shape [8]", "found [7]"});
  expect_error(rl_rms_norm(nullptr, x, w, 1e-5f), RL_INVALID_ARGUMENT, {"rms_norm", "y", "null"});
  Tensor ids({8}, Ints(8, 0));
  expect_error(rl_rms_norm(y, x, ids, 1e-5f), RL_INVALID_ARGUMENT, {"w", "expected dtype f32", "found i32"});
}

}  // namespace
}  // namespace rl::test
