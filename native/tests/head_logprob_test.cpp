#include "head_reference.h"

namespace rl::test {
namespace {

class HeadLogprob : public testing::TestWithParam<std::tuple<std::tuple<int64_t, int64_t, int64_t>, int32_t>> {};

TEST_P(HeadLogprob, MatchesReference) {
  const auto [shape, dtype] = GetParam();
  const auto [rows, v, h] = shape;
  const float temperature = 0.7f;
  const size_t vocabulary = static_cast<size_t>(v), hidden = static_cast<size_t>(h);
  const Floats x = random_floats(rows * h, 1, dtype), w = random_floats(v * h, 2, dtype);
  const Floats g = random_floats(rows, 3), ge = random_floats(rows, 4);
  const Ints ids = random_ids(rows, v, 5);
  Tensor tx({rows, h}, x, dtype), tw({v, h}, w, dtype), targets({rows}, ids), tg({rows}, g), tge({rows}, ge);
  Tensor logp({rows}), entropy({rows}), lse({rows}), gx({rows, h}, dtype), gw({v, h}, Floats(w.size(), 1.0f));
  WeightHandle weight(tw, rows % 2 == 0);

  RL_CHECK(rl_head_logprob(logp, entropy, lse, tx, weight, targets, temperature));
  const double heat = static_cast<double>(temperature);
  const Doubles p = log_softmax(doubles(x), doubles(w), hidden, heat);
  Floats want_logp, want_entropy;
  Doubles dz(p.size()), dz_plain(p.size());
  for (size_t t = 0; t < static_cast<size_t>(rows); t++) {
    const double *row = &p[t * vocabulary];
    double sum = 0;
    for (size_t j = 0; j < vocabulary; j++) sum -= std::exp(row[j]) * row[j];
    want_logp.push_back(static_cast<float>(row[ids[t]]));
    want_entropy.push_back(static_cast<float>(sum));
    for (size_t j = 0; j < vocabulary; j++) {
      const double hit = j == static_cast<size_t>(ids[t]) ? 1 : 0, q = std::exp(row[j]);
      dz_plain[t * vocabulary + j] = static_cast<double>(g[t]) * (hit - q) / heat;
      dz[t * vocabulary + j] = dz_plain[t * vocabulary + j] - static_cast<double>(ge[t]) * q * (row[j] + sum) / heat;
    }
  }
  expect_matches(logp.get(), want_logp, RL_F32, "logp");
  expect_matches(entropy.get(), want_entropy, RL_F32, "entropy");
  EXPECT_NEAR(lse.get()[0], log_sum_exp(doubles(x), doubles(w), hidden, heat, 0), 1e-4);

  RL_CHECK(rl_head_logprob_backward(gx, gw, tg, tge, tx, weight, targets, lse, entropy, temperature));
  const HeadGradients want = head_gradients(dz, doubles(x), doubles(w), hidden, 1);
  expect_matches(gx.get(), want.x, dtype, "gradX", true);
  expect_matches(gw.get(), want.w, dtype, "gradW", true);

  // Without an entropy, and each gradient alone.
  const HeadGradients plain = head_gradients(dz_plain, doubles(x), doubles(w), hidden, 0);
  gw.set(Floats(w.size(), 0.0f));
  RL_CHECK(rl_head_logprob(logp, nullptr, lse, tx, weight, targets, temperature));
  RL_CHECK(rl_head_logprob_backward(gx, nullptr, tg, nullptr, tx, weight, targets, lse, nullptr, temperature));
  RL_CHECK(rl_head_logprob_backward(nullptr, gw, tg, nullptr, tx, weight, targets, lse, nullptr, temperature));
  expect_matches(gx.get(), plain.x, dtype, "gradX", true);
  expect_matches(gw.get(), plain.w, dtype, "gradW", true);
}

INSTANTIATE_TEST_SUITE_P(Shapes, HeadLogprob, testing::Combine(head_shapes(), testing::Values(RL_F32, RL_BF16)));

TEST(HeadLogprobGradient, AgreesWithCentralDifferences) {
  const int64_t rows = 3, v = 11, h = 5;
  const Floats x = random_floats(rows * h, 1), w = random_floats(v * h, 2), g = random_floats(rows, 3),
               ge = random_floats(rows, 4);
  const Ints ids = {4, 0, 10};
  Tensor tx({rows, h}, x), tw({v, h}, w), targets({rows}, ids), tg({rows}, g), tge({rows}, ge);
  Tensor logp({rows}), entropy({rows}), lse({rows}), gx({rows, h}), gw({v, h}, Floats(w.size(), 0.0f));
  WeightHandle weight(tw, false);
  RL_CHECK(rl_head_logprob(logp, entropy, lse, tx, weight, targets, 1.3f));
  RL_CHECK(rl_head_logprob_backward(gx, gw, tg, tge, tx, weight, targets, lse, entropy, 1.3f));
  auto loss = [&](const Doubles &vx, const Doubles &vw) {
    const Doubles p = log_softmax(vx, vw, static_cast<size_t>(h), static_cast<double>(1.3f));
    double sum = 0;
    for (size_t t = 0; t < static_cast<size_t>(rows); t++) {
      const double *row = &p[t * static_cast<size_t>(v)];
      sum += static_cast<double>(g[t]) * row[ids[t]];
      for (int64_t j = 0; j < v; j++) sum -= static_cast<double>(ge[t]) * std::exp(row[j]) * row[j];
    }
    return sum;
  };
  expect_matches(gx.get(), central_differences(doubles(x), [&](const Doubles &q) { return loss(q, doubles(w)); }),
                 RL_F32, "gradX", true);
  expect_matches(gw.get(), central_differences(doubles(w), [&](const Doubles &q) { return loss(doubles(x), q); }),
                 RL_F32, "gradW", true);
}

// e^z overflows; the largest logit lies in the last tile of the vocabulary, so earlier sums are scaled down to nothing.
TEST(HeadLogprobRange, HugeLogits) {
  const int64_t v = 4096 + 3;
  Floats w(static_cast<size_t>(v), 1.0f);
  w.back() = 3;
  Tensor x({600, 1}, Floats(600, 500.0f)), tw({v, 1}, w), targets({600}, Ints(600, static_cast<int32_t>(v - 1)));
  Tensor logp({600}), entropy({600}), lse({600});
  WeightHandle weight(tw, true);
  RL_CHECK(rl_head_logprob(logp, entropy, lse, x, weight, targets, 1));
  EXPECT_EQ(logp.get()[599], 0.0f);
  EXPECT_EQ(entropy.get()[599], 0.0f);
  EXPECT_EQ(lse.get()[599], 1500.0f);
}

// More rows than a backend takes at a time.
TEST(HeadLogprobParts, ManyRows) {
  const int64_t rows = 2050, v = 66, h = 8;
  const Floats x = random_floats(rows * h, 1, RL_BF16), w = random_floats(v * h, 2, RL_BF16);
  const Ints ids = random_ids(rows, v, 5);
  Tensor tx({rows, h}, x, RL_BF16), tw({v, h}, w, RL_BF16), targets({rows}, ids), tg({rows}, Floats(ids.size(), 1.0f));
  Tensor logp({rows}), entropy({rows}), lse({rows}), gx({rows, h}, RL_BF16), gw({v, h}, Floats(w.size(), 0.0f));
  WeightHandle weight(tw, false);
  const Doubles p = log_softmax(doubles(x), doubles(w), static_cast<size_t>(h), 1);
  Doubles dz;
  Floats want;
  for (size_t t = 0; t < ids.size(); t++) {
    const size_t row = t * static_cast<size_t>(v), target = row + static_cast<size_t>(ids[t]);
    for (size_t j = row; j < row + static_cast<size_t>(v); j++) dz.push_back((j == target ? 1 : 0) - std::exp(p[j]));
    want.push_back(static_cast<float>(p[target]));
  }
  const HeadGradients gradients = head_gradients(dz, doubles(x), doubles(w), static_cast<size_t>(h), 0);
  RL_CHECK(rl_head_logprob(logp, entropy, lse, tx, weight, targets, 1));
  expect_matches(logp.get(), want, RL_F32, "logp");
  RL_CHECK(rl_head_logprob_backward(gx, gw, tg, nullptr, tx, weight, targets, lse, nullptr, 1));
  expect_matches(gx.get(), gradients.x, RL_BF16, "gradX", true);
  expect_matches(gw.get(), gradients.w, RL_BF16, "gradW", true);
}

// More logits than a backend takes at a time: gradX is a sum over parts of the vocabulary.
TEST(HeadLogprobParts, ManyLogits) {
  const int64_t rows = 1030, v = 8200, h = 2;
  const Floats x = random_floats(rows * h, 1, RL_BF16), w = random_floats(v * h, 2, RL_BF16);
  const Ints ids = random_ids(rows, v, 5);
  const Doubles p = log_softmax(doubles(x), doubles(w), 2, 1);
  Doubles dz;
  Floats lse;
  for (size_t t = 0; t < ids.size(); t++) {
    const size_t row = t * static_cast<size_t>(v), target = row + static_cast<size_t>(ids[t]);
    for (size_t j = row; j < row + static_cast<size_t>(v); j++) dz.push_back((j == target ? 1 : 0) - std::exp(p[j]));
    const double z0 = static_cast<double>(x[2 * t]) * static_cast<double>(w[0]) +
                      static_cast<double>(x[2 * t + 1]) * static_cast<double>(w[1]);
    lse.push_back(static_cast<float>(z0 - p[row]));
  }
  const HeadGradients want = head_gradients(dz, doubles(x), doubles(w), 2, 0);
  Tensor tx({rows, h}, x, RL_BF16), tw({v, h}, w, RL_BF16), targets({rows}, ids), tg({rows}, Floats(ids.size(), 1.0f));
  Tensor tl({rows}, lse), gx({rows, h}, RL_BF16), gw({v, h}, Floats(w.size(), 0.0f));
  WeightHandle weight(tw, false);
  RL_CHECK(rl_head_logprob_backward(gx, gw, tg, nullptr, tx, weight, targets, tl, nullptr, 1));
  expect_matches(gx.get(), want.x, RL_BF16, "gradX", true);
  expect_matches(gw.get(), want.w, RL_BF16, "gradW", true);
}

TEST(HeadLogprobErrors, NamesOpArgumentExpectedAndFound) {
  Tensor x({2, 4}), w({8, 4}), logp({2}), lse({2}), short_one({1}), targets({2}, Ints{1, 8}), xb({2, 4}, RL_BF16);
  Tensor good({2}, Ints{1, 7}), negative({2}, Ints{-100, 0}), g({2}), gx({2, 4});
  WeightHandle weight(w, true);
  expect_error(rl_head_logprob(logp, nullptr, lse, x, weight, targets, 1), RL_INVALID_ARGUMENT,
               {"head_logprob", "targets[1] is 8, expected 0 to 7"});
  expect_error(rl_head_logprob(logp, nullptr, lse, x, weight, negative, 1), RL_INVALID_ARGUMENT,
               {"targets[0] is -100, expected 0 to 7"});
  expect_error(rl_head_logprob(logp, nullptr, lse, xb, weight, good, 1), RL_INVALID_ARGUMENT,
               {"x: expected weight's dtype f32, found bf16"});
  expect_error(rl_head_logprob(logp, nullptr, lse, x, weight, good, 0), RL_INVALID_ARGUMENT,
               {"temperature", "found 0"});
  expect_error(rl_head_logprob(short_one, nullptr, lse, x, weight, good, 1), RL_INVALID_ARGUMENT,
               {"logp: expected shape [2], found [1]"});
  expect_error(rl_head_logprob(nullptr, nullptr, lse, x, weight, good, 1), RL_INVALID_ARGUMENT, {"logp", "null"});
  expect_error(rl_head_logprob(logp, nullptr, lse, x, 0, good, 1), RL_INVALID_HANDLE, {"weight"});
  expect_error(rl_head_logprob_backward(gx, nullptr, g, g, x, weight, good, lse, nullptr, 1), RL_INVALID_ARGUMENT,
               {"expected both or neither", "gradEntropy alone"});
  expect_error(rl_head_logprob_backward(gx, nullptr, g, nullptr, x, weight, targets, lse, nullptr, 1),
               RL_INVALID_ARGUMENT, {"targets[1] is 8"});
}

}  // namespace
}  // namespace rl::test
