#include "support.h"

namespace rl::test {
namespace {

double loss(const std::vector<double> &c, const std::vector<double> &r, const std::vector<double> &margin,
            double center) {
  double sum = 0;
  for (size_t i = 0; i < c.size(); i++) {
    const double x = c[i] - r[i] - margin[i];
    sum += std::log1p(std::exp(-x)) + center * (c[i] + r[i]) * (c[i] + r[i]);
  }
  return sum / static_cast<double>(c.size());
}

TEST(PairwiseLoss, MatchesReferenceAndCentralDifferences) {
  for (int64_t n : {1, 3, 17, 100}) {
    for (bool with_margin : {false, true}) {
      for (float center : {0.0f, 0.01f}) {
        const Floats c = random_floats(n, 1, RL_F32, 2), r = random_floats(n, 2, RL_F32, 2);
        const Floats margin = with_margin ? random_floats(n, 3) : Floats(c.size(), 0.0f);
        const float scale = 3;
        Tensor tc({n}, c), tr({n}, r), tm({n}, margin), stats({4}), gc({n}, Floats(c.size(), 9.0f)),
            gr({n}, Floats(c.size(), 9.0f));
        RL_CHECK(rl_pairwise_loss(stats, gc, gr, tc, tr, with_margin ? static_cast<const rl_tensor *>(tm) : nullptr,
                                  center, scale));
        std::vector<double> want = {loss(doubles(c), doubles(r), doubles(margin), static_cast<double>(center)), 0, 0,
                                    0};
        for (size_t i = 0; i < c.size(); i++) {
          const double a = static_cast<double>(c[i]), b = static_cast<double>(r[i]), count = static_cast<double>(n);
          want[1] += (a > b ? 1 : 0) / count;
          want[2] += (a - b) / count;
          want[3] += (a + b) / 2 / count;
        }
        expect_close(stats.get(), floats(want), 1e-6, 1e-6, "stats");
        auto of = [&](const std::vector<double> &x, const std::vector<double> &y) {
          return static_cast<double>(scale) * loss(x, y, doubles(margin), static_cast<double>(center));
        };
        const Floats wc =
            central_differences(doubles(c), [&](const std::vector<double> &x) { return of(x, doubles(r)); });
        const Floats wr =
            central_differences(doubles(r), [&](const std::vector<double> &x) { return of(doubles(c), x); });
        expect_close(gc.get(), wc, 1e-6, 1e-5, "gradChosen");
        expect_close(gr.get(), wr, 1e-6, 1e-5, "gradRejected");
      }
    }
  }
}

TEST(PairwiseLoss, FarApartAndEqual) {
  Tensor c({5}, Floats{1000, -1000, 0, 3e38f, -3e38f}), r({5}, Floats{-1000, 1000, 0, -3e38f, 3e38f});
  Tensor stats({4}), gc({5}), gr({5});
  RL_CHECK(rl_pairwise_loss(stats, gc, gr, c, r, nullptr, 0, 5));
  EXPECT_EQ(gc.get(), (Floats{0, -1, -0.5f, 0, -1}));
  EXPECT_EQ(gr.get(), (Floats{0, 1, 0.5f, 0, 1}));
  EXPECT_FLOAT_EQ(stats.get()[1], 0.4f);  // a tie is not right
  Tensor one({1}, Floats{-1000}), other({1}, Floats{1000});
  Tensor g({1}), h({1});
  RL_CHECK(rl_pairwise_loss(stats, g, h, one, other, nullptr, 0, 1));
  EXPECT_FLOAT_EQ(stats.get()[0], 2000);
  RL_CHECK(rl_pairwise_loss(stats, g, h, other, one, nullptr, 0, 1));
  EXPECT_EQ(stats.get()[0], 0);
}

TEST(PairwiseLossErrors, NamesWhatIsWrong) {
  Tensor c({3}), r({3}), r4({4}), stats({4}), s3({3}), gc({3}), gr({3}), half({3}, RL_BF16);
  expect_error(rl_pairwise_loss(stats, gc, gr, c, r4, nullptr, 0, 1), RL_INVALID_ARGUMENT,
               {"pairwise_loss", "rejected", "expected shape [3]", "found [4]"});
  expect_error(rl_pairwise_loss(s3, gc, gr, c, r, nullptr, 0, 1), RL_INVALID_ARGUMENT,
               {"stats", "expected shape [4]", "found [3]"});
  expect_error(rl_pairwise_loss(stats, gc, gr, c, r, r4, 0, 1), RL_INVALID_ARGUMENT, {"margin", "found [4]"});
  expect_error(rl_pairwise_loss(stats, gc, gr, half, r, nullptr, 0, 1), RL_INVALID_ARGUMENT, {"chosen", "found bf16"});
  expect_error(rl_pairwise_loss(stats, gc, gc, c, r, nullptr, 0, 1), RL_INVALID_ARGUMENT,
               {"gradChosen", "overlaps gradRejected"});
  expect_error(rl_pairwise_loss(stats, gc, nullptr, c, r, nullptr, 0, 1), RL_INVALID_ARGUMENT,
               {"gradRejected", "null"});
}

}  // namespace
}  // namespace rl::test
