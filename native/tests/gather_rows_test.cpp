#include "support.h"

namespace rl::test {
namespace {

class GatherRows : public testing::TestWithParam<std::tuple<int64_t, int64_t, int32_t>> {};

TEST_P(GatherRows, PicksRowsAndGivesTheirGradientsBack) {
  const auto [picked, n, dtype] = GetParam();
  const int64_t rows = 23, width = n + 6;
  Ints index;
  for (int64_t m = 0; m < picked; m++) index.push_back(static_cast<int32_t>(m == 0 ? rows - 1 : (m * 5) % rows));
  const Floats x = random_floats(rows * width, 1, dtype), g = random_floats(picked * n, 2, dtype);
  Tensor tx({rows, width}, x, dtype), tindex({picked}, index), ty({picked, n}, dtype), tg({picked, n}, g, dtype);
  const rl_tensor vx = columns(tx, 5, {rows, n});
  RL_CHECK(rl_gather_rows(ty, &vx, tindex));
  const Floats source = slice(x, width, 5, n);
  Floats want;
  std::vector<double> gradient(source.size(), 0);
  for (int64_t m = 0; m < picked; m++) {
    for (int64_t i = 0; i < n; i++) {
      const size_t at = static_cast<size_t>(index[static_cast<size_t>(m)] * n + i);
      want.push_back(source[at]);
      gradient[at] += static_cast<double>(g[static_cast<size_t>(m * n + i)]);
    }
  }
  EXPECT_EQ(ty.get(), want);
  Tensor tgx({rows, n}, Floats(source.size(), 7.0f), dtype);  // overwritten, also in rows that nothing picks
  RL_CHECK(rl_gather_rows_backward(tgx, tg, tindex));
  expect_matches(tgx.get(), floats(gradient), dtype, "gradX");
}

INSTANTIATE_TEST_SUITE_P(Shapes, GatherRows,
                         testing::Combine(testing::Values(1, 7, 60), testing::Values(1, 15, 64, 97),
                                          testing::Values(RL_F32, RL_BF16)));

TEST(GatherRows, Bf16GradientsAreSummedInF32AndRoundedOnce) {
  const float small = 0.00390625f;  // too small to change a bf16 of 1; three of them are large enough
  const Floats g{1, small, small, small};
  Tensor tg({4, 1}, g, RL_BF16), index({4}, Ints{1, 1, 1, 1}), gx({2, 1}, RL_BF16);
  RL_CHECK(rl_gather_rows_backward(gx, tg, index));
  EXPECT_EQ(gx.get(), (Floats{0, 1.015625f}));
}

TEST(GatherRowsErrors, NamesWhatIsWrong) {
  Tensor x({5, 4}, Floats(20, 1.0f)), y({3, 4}, Floats(12, 9.0f)), half({3, 4}, RL_BF16), wide({3, 5});
  Tensor good({3}, Ints{0, 4, 2});
  for (int32_t bad : {5, -1, INT32_MIN}) {
    Tensor index({3}, Ints{0, bad, 1});
    const std::string found = "index[1] is " + std::to_string(bad);
    expect_error(rl_gather_rows(y, x, index), RL_INVALID_ARGUMENT, {"gather_rows", found, "expected 0 to 4"});
    expect_error(rl_gather_rows_backward(x, y, index), RL_INVALID_ARGUMENT, {"gather_rows_backward", found});
  }
  EXPECT_EQ(y.get(), Floats(12, 9.0f));
  EXPECT_EQ(x.get(), Floats(20, 1.0f));
  expect_error(rl_gather_rows(nullptr, x, good), RL_INVALID_ARGUMENT, {"y", "null"});
  expect_error(rl_gather_rows(y, x, nullptr), RL_INVALID_ARGUMENT, {"index", "null"});
  expect_error(rl_gather_rows(half, x, good), RL_INVALID_ARGUMENT, {"y", "expected dtype f32", "found bf16"});
  expect_error(rl_gather_rows(wide, x, good), RL_INVALID_ARGUMENT, {"y", "expected shape [3,4]", "found [3,5]"});
  expect_error(rl_gather_rows(y, x, x), RL_INVALID_ARGUMENT, {"index", "expected dtype i32"});
}

}  // namespace
}  // namespace rl::test
