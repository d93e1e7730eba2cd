#include "head_reference.h"

namespace rl::test {
namespace {

class HeadFullKl : public testing::TestWithParam<std::tuple<std::tuple<int64_t, int64_t, int64_t>, int32_t>> {};

TEST_P(HeadFullKl, MatchesReference) {
  const auto [shape, dtype] = GetParam();
  const auto [rows, v, h] = shape;
  const float temperature = 1.5f;
  const bool shared = rows % 2 == 0;  // one weight for policy and reference
  const int64_t h_ref = shared ? h : h + 3;
  const size_t vocabulary = static_cast<size_t>(v);
  const Floats x = random_floats(rows * h, 1, dtype), w = random_floats(v * h, 2, dtype), g = random_floats(rows, 3);
  const Floats xr = random_floats(rows * h_ref, 4, dtype), wr = shared ? w : random_floats(v * h_ref, 5, dtype);
  Tensor tx({rows, h}, x, dtype), tw({v, h}, w, dtype), txr({rows, h_ref}, xr, dtype), twr({v, h_ref}, wr, dtype),
      tg({rows}, g);
  Tensor kl({rows}), lse({rows}), lse_ref({rows}), gx({rows, h}, dtype), gw({v, h}, Floats(w.size(), 1.0f));
  WeightHandle weight(tw, true), other(twr, false);
  const rl_weight ref = shared ? weight : other;

  RL_CHECK(rl_head_full_kl(kl, lse, lse_ref, tx, weight, txr, ref, temperature));
  const double heat = static_cast<double>(temperature);
  const Doubles p = log_softmax(doubles(x), doubles(w), static_cast<size_t>(h), heat);
  const Doubles q = log_softmax(doubles(xr), doubles(wr), static_cast<size_t>(h_ref), heat);
  Floats want;
  Doubles dz(p.size());
  for (size_t t = 0; t < static_cast<size_t>(rows); t++) {
    double sum = 0;
    for (size_t j = t * vocabulary; j < (t + 1) * vocabulary; j++) sum += std::exp(p[j]) * (p[j] - q[j]);
    want.push_back(static_cast<float>(sum));
    for (size_t j = t * vocabulary; j < (t + 1) * vocabulary; j++) {
      dz[j] = static_cast<double>(g[t]) * std::exp(p[j]) * (p[j] - q[j] - sum) / heat;
    }
  }
  expect_matches(kl.get(), want, RL_F32, "kl");
  EXPECT_NEAR(lse_ref.get()[0], log_sum_exp(doubles(xr), doubles(wr), static_cast<size_t>(h_ref), heat, 0), 1e-4);

  RL_CHECK(rl_head_full_kl_backward(gx, gw, tg, tx, weight, txr, ref, lse, lse_ref, kl, temperature));
  const HeadGradients gradients = head_gradients(dz, doubles(x), doubles(w), static_cast<size_t>(h), 1);
  expect_matches(gx.get(), gradients.x, dtype, "gradX", true);
  expect_matches(gw.get(), gradients.w, dtype, "gradW", true);
}

INSTANTIATE_TEST_SUITE_P(Shapes, HeadFullKl, testing::Combine(head_shapes(), testing::Values(RL_F32, RL_BF16)));
// Several tiles of rows and of the vocabulary.
INSTANTIATE_TEST_SUITE_P(Tiles, HeadFullKl,
                         testing::Combine(testing::Values(std::tuple(260, 4100, 6)), testing::Values(RL_F32, RL_BF16)));

TEST(HeadFullKlGradient, AgreesWithCentralDifferences) {
  const Floats x = random_floats(3 * 5, 1), w = random_floats(11 * 5, 2), xr = random_floats(3 * 5, 3),
               g = random_floats(3, 4);
  Tensor tx({3, 5}, x), tw({11, 5}, w), txr({3, 5}, xr), tg({3}, g), kl({3}), lse({3}), lse_ref({3}), gx({3, 5});
  WeightHandle weight(tw, true);
  RL_CHECK(rl_head_full_kl(kl, lse, lse_ref, tx, weight, txr, weight, 1));
  RL_CHECK(rl_head_full_kl_backward(gx, nullptr, tg, tx, weight, txr, weight, lse, lse_ref, kl, 1));
  const Doubles q = log_softmax(doubles(xr), doubles(w), 5, 1);
  auto f = [&](const Doubles &vx) {
    const Doubles p = log_softmax(vx, doubles(w), 5, 1);
    double sum = 0;
    for (size_t j = 0; j < p.size(); j++) sum += static_cast<double>(g[j / 11]) * std::exp(p[j]) * (p[j] - q[j]);
    return sum;
  };
  expect_matches(gx.get(), central_differences(doubles(x), f), RL_F32, "gradX", true);
}

// Policy and reference in different dtypes.
class HeadFullKlMixed : public testing::TestWithParam<int32_t> {};

TEST_P(HeadFullKlMixed, MatchesReference) {
  const int32_t dtype = GetParam(), other = dtype == RL_F32 ? RL_BF16 : RL_F32;
  const int64_t rows = 65, v = 131, h = 9, h_ref = 20;
  const size_t vocabulary = static_cast<size_t>(v);
  const Floats x = random_floats(rows * h, 1, dtype), w = random_floats(v * h, 2, dtype), g = random_floats(rows, 3);
  const Floats xr = random_floats(rows * h_ref, 4, other), wr = random_floats(v * h_ref, 5, other);
  Tensor tx({rows, h}, x, dtype), tw({v, h}, w, dtype), txr({rows, h_ref}, xr, other), twr({v, h_ref}, wr, other);
  Tensor tg({rows}, g), kl({rows}), lse({rows}), lse_ref({rows}), gx({rows, h});
  WeightHandle weight(tw, true), ref(twr, true);
  const Doubles p = log_softmax(doubles(x), doubles(w), static_cast<size_t>(h), 1);
  const Doubles q = log_softmax(doubles(xr), doubles(wr), static_cast<size_t>(h_ref), 1);
  Floats want;
  Doubles dz(p.size());
  for (size_t t = 0; t < static_cast<size_t>(rows); t++) {
    double sum = 0;
    for (size_t j = t * vocabulary; j < (t + 1) * vocabulary; j++) sum += std::exp(p[j]) * (p[j] - q[j]);
    want.push_back(static_cast<float>(sum));
    for (size_t j = t * vocabulary; j < (t + 1) * vocabulary; j++) {
      dz[j] = static_cast<double>(g[t]) * std::exp(p[j]) * (p[j] - q[j] - sum);
    }
  }
  RL_CHECK(rl_head_full_kl(kl, lse, lse_ref, tx, weight, txr, ref, 1));
  expect_matches(kl.get(), want, RL_F32, "kl");
  RL_CHECK(rl_head_full_kl_backward(gx, nullptr, tg, tx, weight, txr, ref, lse, lse_ref, kl, 1));
  expect_matches(gx.get(), head_gradients(dz, doubles(x), doubles(w), static_cast<size_t>(h), 0).x, dtype, "gradX",
                 true);
}

INSTANTIATE_TEST_SUITE_P(Dtypes, HeadFullKlMixed, testing::Values(RL_F32, RL_BF16));

TEST(HeadFullKlSame, IsZero) {
  Tensor x({20, 8}, random_floats(160, 1)), xr({20, 8}, random_floats(160, 1)), w({5000, 8}, random_floats(40000, 2));
  Tensor kl({20}), lse({20}), lse_ref({20});
  WeightHandle weight(w, true);
  RL_CHECK(rl_head_full_kl(kl, lse, lse_ref, x, weight, xr, weight, 1));
  EXPECT_EQ(kl.get(), Floats(20, 0.0f));
}

TEST(HeadFullKlErrors, NamesOpArgumentExpectedAndFound) {
  Tensor x({2, 4}), xr({3, 4}), w({8, 4}), other({9, 4}), kl({2}), lse({2}), lse_ref({2}), x2({2, 4});
  WeightHandle weight(w, true), wrong(other, true);
  expect_error(rl_head_full_kl(kl, lse, lse_ref, x, weight, x2, wrong, 1), RL_INVALID_ARGUMENT,
               {"head_full_kl", "weightRef: expected weight's vocabulary 8, found 9"});
  expect_error(rl_head_full_kl(kl, lse, lse_ref, x, weight, xr, weight, 1), RL_INVALID_ARGUMENT,
               {"xRef: expected shape [2,4], found [3,4]"});
  expect_error(rl_head_full_kl(kl, lse, lse, x, weight, x2, weight, 1), RL_INVALID_ARGUMENT, {"overlaps"});
  expect_error(rl_head_full_kl(kl, lse, lse_ref, x, weight, x2, weight, -1), RL_INVALID_ARGUMENT,
               {"temperature", "found -1"});
}

}  // namespace
}  // namespace rl::test
