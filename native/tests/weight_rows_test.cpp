#include "support.h"

namespace rl::test {
namespace {

class WeightRows : public testing::TestWithParam<std::tuple<int64_t, int64_t, int32_t, int32_t, bool>> {};

TEST_P(WeightRows, AreTheMatrixsOwn) {
  const auto [n, k, dw, dy, packed] = GetParam();
  Ints ids = {static_cast<int32_t>(n - 1), 0, static_cast<int32_t>(n / 2), 0};
  const Floats w = random_floats(n * k, 1, dw);
  Tensor tw({n, k}, w, dw), ty({4, k}, dy), tids({4}, ids);
  rl_weight weight = 0;
  RL_CHECK(packed ? rl_weight_pack(&weight, tw, 0) : rl_weight_view(&weight, tw));
  RL_CHECK(rl_weight_rows(ty, weight, tids));
  RL_CHECK(rl_weight_free(weight));
  Floats want;
  for (const int32_t id : ids) {
    for (int64_t i = 0; i < k; i++) {
      const float value = w[static_cast<size_t>(id * k + i)];
      want.push_back(dy == RL_BF16 ? bf16_to_f32(f32_to_bf16(value)) : value);
    }
  }
  EXPECT_EQ(ty.get(), want);
}

INSTANTIATE_TEST_SUITE_P(Shapes, WeightRows,
                         testing::Combine(testing::Values(1, 3, 64, 65, 200), testing::Values(1, 15, 32, 70),
                                          testing::Values(RL_F32, RL_BF16), testing::Values(RL_F32, RL_BF16),
                                          testing::Bool()));

TEST(WeightRowsErrors, NamesWhatIsWrong) {
  Tensor w({5, 4}, Floats(20, 1.0f)), y({3, 4}, Floats(12, 9.0f)), wide({3, 5}), real({3});
  Tensor ids({3}, Ints{0, 4, 1}), bad({3}, Ints{0, 5, 1});
  rl_weight weight = 0;
  RL_CHECK(rl_weight_pack(&weight, w, 0));
  expect_error(rl_weight_rows(y, weight, bad), RL_INVALID_ARGUMENT, {"weight_rows", "ids[1] is 5", "expected 0 to 4"});
  expect_error(rl_weight_rows(wide, weight, ids), RL_INVALID_ARGUMENT, {"y", "expected shape [3,4]", "found [3,5]"});
  expect_error(rl_weight_rows(y, weight, real), RL_INVALID_ARGUMENT, {"ids", "expected dtype i32", "found f32"});
  EXPECT_EQ(y.get(), Floats(12, 9.0f));
  RL_CHECK(rl_weight_free(weight));
  expect_error(rl_weight_rows(y, weight, ids), RL_INVALID_HANDLE, {"weight_rows", "weight"});
}

}  // namespace
}  // namespace rl::test
