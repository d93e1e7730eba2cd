#include "head_reference.h"

namespace rl::test {
namespace {

class HeadCrossEntropy : public testing::TestWithParam<std::tuple<std::tuple<int64_t, int64_t, int64_t>, int32_t>> {};

TEST_P(HeadCrossEntropy, MatchesReference) {
  const auto [shape, dtype] = GetParam();
  const auto [rows, v, h] = shape;
  const float scale = 0.25f;
  const size_t vocabulary = static_cast<size_t>(v), hidden = static_cast<size_t>(h);
  const Floats x = random_floats(rows * h, 1, dtype), w = random_floats(v * h, 2, dtype);
  Ints ids = random_ids(rows, v, 5);
  for (size_t t = 0; t < ids.size(); t += 3) {
    if (t % 2) ids[t] = -100;
  }
  Tensor tx({rows, h}, x, dtype), tw({v, h}, w, dtype), targets({rows}, ids), loss({2}), gx({rows, h}, dtype);
  Tensor gw({v, h}, Floats(w.size(), 1.0f));
  WeightHandle weight(tw, rows % 2 == 0);

  const Doubles p = log_softmax(doubles(x), doubles(w), hidden, 1);
  Doubles dz(p.size());
  double want = 0, number = 0;
  for (size_t t = 0; t < ids.size(); t++) {
    if (ids[t] < 0) continue;
    number++;
    want -= p[t * vocabulary + static_cast<size_t>(ids[t])];
    for (size_t j = 0; j < vocabulary; j++) {
      const double hit = j == static_cast<size_t>(ids[t]) ? 1 : 0;
      dz[t * vocabulary + j] = static_cast<double>(scale) * (std::exp(p[t * vocabulary + j]) - hit);
    }
  }
  const HeadGradients gradients = head_gradients(dz, doubles(x), doubles(w), hidden, 1);
  const Floats want_loss = {static_cast<float>(want), static_cast<float>(number)};

  RL_CHECK(rl_head_cross_entropy(loss, gx, gw, tx, weight, targets, scale));
  expect_matches(loss.get(), want_loss, RL_F32, "loss");
  expect_matches(gx.get(), gradients.x, dtype, "gradX", true);
  expect_matches(gw.get(), gradients.w, dtype, "gradW", true);

  // gradX alone goes another way, and so does the loss alone.
  gx.set(Floats(x.size(), 9.0f));
  RL_CHECK(rl_head_cross_entropy(loss, gx, nullptr, tx, weight, targets, scale));
  expect_matches(loss.get(), want_loss, RL_F32, "loss");
  expect_matches(gx.get(), gradients.x, dtype, "gradX", true);
  RL_CHECK(rl_head_cross_entropy(loss, nullptr, nullptr, tx, weight, targets, scale));
  expect_matches(loss.get(), want_loss, RL_F32, "loss");
}

INSTANTIATE_TEST_SUITE_P(Shapes, HeadCrossEntropy, testing::Combine(head_shapes(), testing::Values(RL_F32, RL_BF16)));

TEST(HeadCrossEntropyGradient, AgreesWithCentralDifferences) {
  const Floats x = random_floats(3 * 5, 1), w = random_floats(11 * 5, 2);
  Tensor tx({3, 5}, x), tw({11, 5}, w), targets({3}, Ints{4, -100, 10}), loss({2}), gx({3, 5}),
      gw({11, 5}, Floats(55, 0.0f));
  WeightHandle weight(tw, true);
  RL_CHECK(rl_head_cross_entropy(loss, gx, gw, tx, weight, targets, 1));
  auto f = [&](const Doubles &vx, const Doubles &vw) {
    const Doubles p = log_softmax(vx, vw, 5, 1);
    return -p[4] - p[22 + 10];
  };
  expect_matches(gx.get(), central_differences(doubles(x), [&](const Doubles &q) { return f(q, doubles(w)); }), RL_F32,
                 "gradX", true);
  expect_matches(gw.get(), central_differences(doubles(w), [&](const Doubles &q) { return f(doubles(x), q); }), RL_F32,
                 "gradW", true);
}

// More logits than a backend takes at a time, the largest in the last part of the vocabulary for half of the rows.
TEST(HeadCrossEntropyParts, GradientAddsUp) {
  const int64_t rows = 1030, v = 8200, h = 2;
  const Floats x = random_floats(rows * h, 1, RL_BF16), w = random_floats(v * h, 2, RL_BF16);
  Ints ids = random_ids(rows, v, 5);
  ids[7] = -100;
  const Doubles p = log_softmax(doubles(x), doubles(w), 2, 1);
  Doubles dz(p.size());
  double want = 0;
  for (size_t t = 0; t < ids.size(); t++) {
    if (ids[t] < 0) continue;
    const size_t row = t * static_cast<size_t>(v), target = row + static_cast<size_t>(ids[t]);
    for (size_t j = row; j < row + static_cast<size_t>(v); j++) dz[j] = std::exp(p[j]) - (j == target ? 1 : 0);
    want -= p[target];
  }
  Tensor tx({rows, h}, x, RL_BF16), tw({v, h}, w, RL_BF16), targets({rows}, ids), loss({2}), gx({rows, h}, RL_BF16);
  WeightHandle weight(tw, false);
  RL_CHECK(rl_head_cross_entropy(loss, gx, nullptr, tx, weight, targets, 1));
  expect_matches(loss.get(), {static_cast<float>(want), static_cast<float>(rows - 1)}, RL_F32, "loss");
  expect_matches(gx.get(), head_gradients(dz, doubles(x), doubles(w), 2, 0).x, RL_BF16, "gradX", true);
}

// The largest logit so far grows from tile to tile by more than e^ can span. And every call gives the same bits.
TEST(HeadCrossEntropyRange, GrowingLogits) {
  const int64_t rows = 70, v = 700;
  Floats w;
  for (int64_t i = 0; i < v; i++) w.push_back(static_cast<float>(i - 699));
  Tensor x({rows, 1}, Floats(70, 2.0f)), tw({v, 1}, w), targets({rows}, Ints(70, 699)), loss({2}), gx({rows, 1});
  WeightHandle weight(tw, true);
  double sum = 0, weighted = 0;
  for (double z : doubles(w)) {
    sum += std::exp(2 * z);
    weighted += z * std::exp(2 * z);
  }
  RL_CHECK(rl_head_cross_entropy(loss, gx, nullptr, x, weight, targets, 1));
  const Floats once = gx.get();
  expect_matches(loss.get(), {static_cast<float>(70 * std::log(sum)), 70}, RL_F32, "loss");
  expect_matches(once, Floats(70, static_cast<float>(weighted / sum)), RL_F32, "gradX", true);
  RL_CHECK(rl_head_cross_entropy(loss, gx, nullptr, x, weight, targets, 1));
  EXPECT_EQ(gx.get(), once);
}

TEST(HeadCrossEntropyErrors, NamesOpArgumentExpectedAndFound) {
  Tensor x({2, 4}, random_floats(8, 1)), w({8, 4}, random_floats(32, 2)), loss({2}), bad({2}, Ints{-100, -1}),
      all({2}, Ints{-100, -100}), gx({2, 4}, Floats(8, 5.0f)), gw({8, 3});
  WeightHandle weight(w, true);
  expect_error(rl_head_cross_entropy(loss, gx, nullptr, x, weight, bad, 1), RL_INVALID_ARGUMENT,
               {"head_cross_entropy", "targets[1] is -1, expected 0 to 7 or -100"});
  expect_error(rl_head_cross_entropy(x, gx, nullptr, x, weight, all, 1), RL_INVALID_ARGUMENT,
               {"loss: expected shape [2], found [2,4]"});
  expect_error(rl_head_cross_entropy(loss, gx, gw, x, weight, all, 1), RL_INVALID_ARGUMENT,
               {"gradW: expected shape [8,4], found [8,3]"});
  RL_CHECK(rl_head_cross_entropy(loss, gx, nullptr, x, weight, all, 1));
  EXPECT_EQ(loss.get(), (Floats{0, 0}));
  EXPECT_EQ(gx.get(), Floats(8, 0.0f));
}

}  // namespace
}  // namespace rl::test
