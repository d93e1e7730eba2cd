#include "support.h"

namespace rl::test {
namespace {

/// Two floats whose sum is 1 / theta^(2i/D) to double's digits.
Floats inverse_frequencies(int64_t d, double theta) {
  Floats high, low;
  for (int64_t i = 0; i < d / 2; i++) {
    const double f = std::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(d));
    high.push_back(static_cast<float>(f));
    low.push_back(static_cast<float>(f - static_cast<double>(high.back())));
  }
  high.insert(high.end(), low.begin(), low.end());
  return high;
}

class Rope : public testing::TestWithParam<std::tuple<int64_t, int64_t, int64_t, int32_t>> {};

TEST_P(Rope, RotatesAndRotatesBack) {
  const auto [rows, heads, d, dtype] = GetParam();
  const int64_t n = heads * d, width = n + 2 * d;
  Ints positions;
  for (int64_t t = 0; t < rows; t++) positions.push_back(static_cast<int32_t>(t % 5 == 4 ? 100003 * t : t));
  Tensor tp({rows}, positions), tf({2, d / 2}, inverse_frequencies(d, 1e5)), table({rows, d});
  RL_CHECK(rl_rope_table(table, tp, tf));
  std::vector<double> cosine, sine, angles;
  for (int64_t t = 0; t < rows; t++) {
    for (int64_t part = 0; part < 2; part++) {
      for (int64_t i = 0; i < d / 2; i++) {
        const double angle =
            positions[static_cast<size_t>(t)] * std::pow(1e5, -2.0 * static_cast<double>(i) / static_cast<double>(d));
        angles.push_back(part ? std::sin(angle) : std::cos(angle));
      }
    }
  }
  expect_close(table.get(), floats(angles), 1e-6, 0, "table");

  const Floats wide = random_floats(rows * width, 1, dtype), x = slice(wide, width, 0, n);
  std::vector<double> y(x.size()), back(x.size());
  for (int64_t t = 0; t < rows; t++) {
    for (int64_t h = 0; h < heads; h++) {
      for (int64_t i = 0; i < d / 2; i++) {
        const size_t lo = static_cast<size_t>(t * n + h * d + i), hi = lo + static_cast<size_t>(d / 2);
        const double c = angles[static_cast<size_t>(t * d + i)], s = angles[static_cast<size_t>(t * d + d / 2 + i)];
        const double a = static_cast<double>(x[lo]), b = static_cast<double>(x[hi]);
        y[lo] = a * c - b * s;
        y[hi] = b * c + a * s;
        back[lo] = a * c + b * s;  // the transposed rotation: what the backward needs
        back[hi] = b * c - a * s;
      }
    }
  }
  Tensor tw({rows, width}, wide, dtype), ty({rows, heads, d}, dtype);
  const rl_tensor vx = columns(tw, 0, {rows, heads, d});
  RL_CHECK(rl_rope(ty, &vx, table, 0));
  const Floats rotated = ty.get();
  expect_matches(rotated, floats(y), dtype, "y");
  RL_CHECK(rl_rope(ty, &vx, table, 1));
  expect_matches(ty.get(), floats(back), dtype, "inverse");
  // In place, within a wider matrix: the same bits, and the rest is left alone.
  RL_CHECK(rl_rope(&vx, &vx, table, 0));
  EXPECT_EQ(slice(tw.get(), width, 0, n), rotated);
  EXPECT_EQ(slice(tw.get(), width, n, 2 * d), slice(wide, width, n, 2 * d));
  RL_CHECK(rl_rope(&vx, &vx, table, 1));
  expect_matches(slice(tw.get(), width, 0, n), x, dtype, "there and back");
}

// A table of R < D columns rotates the first R of each head, as a head of its own, and leaves the others as they are.
TEST(Rope, OfAPartOfTheHead) {
  for (int32_t dtype : {RL_F32, RL_BF16}) {
    const int64_t rows = 7, heads = 2, d = 20, r = 12;
    const Floats x = random_floats(rows * heads * d, 1, dtype);
    Ints positions;
    for (int64_t t = 0; t < rows; t++) positions.push_back(static_cast<int32_t>(3 * t));
    Tensor tp({rows}, positions), tf({2, r / 2}, inverse_frequencies(r, 1e4)), table({rows, r});
    RL_CHECK(rl_rope_table(table, tp, tf));
    Tensor part({rows, heads, r}, slice(x, d, 0, r), dtype), tx({rows, heads, d}, x, dtype),
        ty({rows, heads, d}, dtype);
    RL_CHECK(rl_rope(part, part, table, 0));
    RL_CHECK(rl_rope(ty, tx, table, 0));
    EXPECT_EQ(slice(ty.get(), d, 0, r), part.get());
    EXPECT_EQ(slice(ty.get(), d, r, d - r), slice(x, d, r, d - r));
    RL_CHECK(rl_rope(tx, tx, table, 0));
    EXPECT_EQ(tx.get(), ty.get());
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, Rope,
                         testing::Combine(testing::Values(1, 7, 130), testing::Values(1, 3),
                                          testing::Values(2, 16, 64, 80, 128), testing::Values(RL_F32, RL_BF16)));

TEST(RopeTable, BigPositionsKeepTheirDigits) {
  const Ints positions = {0, 1, 1000000, 16777217, 1 << 30, INT32_MAX};
  const int64_t rows = static_cast<int64_t>(positions.size()), d = 64;
  Tensor tp({rows}, positions), tf({2, d / 2}, inverse_frequencies(d, 10000)), table({rows, d});
  RL_CHECK(rl_rope_table(table, tp, tf));
  const Floats got = table.get();
  for (int64_t t = 0; t < rows; t++) {
    for (int64_t i = 0; i < d / 2; i++) {
      // Two floats hold 48 bits of the frequency: 2^31 * 2^-49 of an angle at most.
      const double angle =
          positions[static_cast<size_t>(t)] * std::pow(1e4, -2.0 * static_cast<double>(i) / static_cast<double>(d));
      EXPECT_NEAR(static_cast<double>(got[static_cast<size_t>(t * d + i)]), std::cos(angle), 5e-6) << t << " " << i;
      EXPECT_NEAR(static_cast<double>(got[static_cast<size_t>(t * d + d / 2 + i)]), std::sin(angle), 5e-6)
          << t << " " << i;
    }
  }
}

TEST(RopeErrors, NamesWhatIsWrong) {
  Tensor table({3, 8}), tf({2, 4}, Floats(8, 1.0f)), good({3}, Ints{0, 1, 2}), bad({3}, Ints{0, -1, 2});
  expect_error(rl_rope_table(table, bad, tf), RL_INVALID_ARGUMENT, {"rope_table", "positions[1] is -1", "expected 0"});
  Tensor narrow({3, 6}), one({1, 8}), x({3, 2, 8}), y({3, 2, 8}), odd({3, 2, 7}), half({3, 2, 8}, RL_BF16),
      flat({3, 16});
  expect_error(rl_rope_table(narrow, good, tf), RL_INVALID_ARGUMENT, {"table", "expected shape [3,8]", "found [3,6]"});
  expect_error(rl_rope_table(table, good, one), RL_INVALID_ARGUMENT,
               {"invFreq", "expected shape [2,*]", "found [1,8]"});
  expect_error(rl_rope_table(nullptr, good, tf), RL_INVALID_ARGUMENT, {"table", "null"});
  expect_error(rl_rope(y, nullptr, table, 0), RL_INVALID_ARGUMENT, {"rope", "x", "null"});
  expect_error(rl_rope(y, flat, table, 0), RL_INVALID_ARGUMENT, {"x", "rank 3", "[3,16]"});
  expect_error(rl_rope(odd, odd, table, 0), RL_INVALID_ARGUMENT, {"table", "at most the head size 7", "found 8"});
  expect_error(rl_rope(half, x, table, 0), RL_INVALID_ARGUMENT, {"y", "expected dtype f32", "found bf16"});
  Tensor short_table({2, 8}), odd_table({3, 5});
  expect_error(rl_rope(y, x, short_table, 0), RL_INVALID_ARGUMENT, {"table", "expected shape [3,*]", "found [2,8]"});
  expect_error(rl_rope(y, x, odd_table, 0), RL_INVALID_ARGUMENT, {"table", "even number of columns", "found 5"});
  expect_error(rl_rope(nullptr, x, table, 0), RL_INVALID_ARGUMENT, {"y", "null"});
}

}  // namespace
}  // namespace rl::test
