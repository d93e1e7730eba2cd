#include "support.h"

namespace rl::test {
namespace {

TEST(Scale, EveryMixOfDtypesDenseStridedAndInPlace) {
  for (int32_t dx : {RL_F32, RL_BF16}) {
    for (int32_t dy : {RL_F32, RL_BF16}) {
      for (int64_t rows : {1, 3, 700}) {
        for (int64_t n : {1, 15, 97}) {
          const Floats x = random_floats(rows * n, 1, dx);
          Floats want(x.size());
          for (size_t i = 0; i < x.size(); i++) {
            const float y = x[i] * 1.7f;
            want[i] = dy == RL_BF16 ? bf16_to_f32(f32_to_bf16(y)) : y;
          }
          Tensor tx({rows, n}, x, dx), wide({rows, n + 5}, Floats(static_cast<size_t>(rows * (n + 5)), 3.0f), dy);
          const rl_tensor view = columns(wide, 2, {rows, n});
          RL_CHECK(rl_scale(&view, tx, 1.7f));
          EXPECT_EQ(slice(wide.get(), n + 5, 2, n), want);  // one rounding: exact
          EXPECT_EQ(slice(wide.get(), n + 5, n + 2, 3), Floats(static_cast<size_t>(rows * 3), 3.0f));
          if (dx != dy) continue;
          RL_CHECK(rl_scale(tx, tx, 1.7f));
          EXPECT_EQ(tx.get(), want);
        }
      }
    }
  }
  Tensor e({0, 4}), f({0, 4});
  RL_CHECK(rl_scale(e, f, 2));
}

TEST(ScaleErrors, NamesWhatIsWrong) {
  Tensor x({4, 8}), y({4, 8}), c({4, 7}), ids({4, 8}, RL_I32);
  expect_error(rl_scale(nullptr, x, 1), RL_INVALID_ARGUMENT, {"scale", "y", "null"});
  expect_error(rl_scale(y, c, 1), RL_INVALID_ARGUMENT, {"y", "expected shape [4,7]", "found [4,8]"});
  expect_error(rl_scale(y, ids, 1), RL_INVALID_ARGUMENT, {"x", "expected f32 or bf16", "found i32"});
}

}  // namespace
}  // namespace rl::test
