#include "support.h"

namespace rl::test {
namespace {

class Add : public testing::TestWithParam<std::tuple<int32_t, int32_t, int32_t>> {};

TEST_P(Add, EveryMixOfDtypesDenseAndStrided) {
  const auto [dy, da, db] = GetParam();
  for (int64_t rows : {1, 3, 700}) {
    for (int64_t n : {1, 15, 16, 17, 64, 97}) {
      const Floats a = random_floats(rows * n, 1, da), b = random_floats(rows * n, 2, db);
      Floats want(a.size());
      for (size_t i = 0; i < a.size(); i++) {
        const float sum = a[i] + b[i];
        want[i] = dy == RL_BF16 ? bf16_to_f32(f32_to_bf16(sum)) : sum;
      }
      Tensor ta({rows, n}, a, da), tb({rows, n}, b, db), ty({rows, n}, dy);
      RL_CHECK(rl_add(ty, ta, tb));
      EXPECT_EQ(ty.get(), want);  // one rounding: exact

      Tensor wide({rows, n + 5}, Floats(static_cast<size_t>(rows * (n + 5)), 3.0f), dy);
      const rl_tensor view = columns(wide, 2, {rows, n});
      RL_CHECK(rl_add(&view, ta, tb));
      EXPECT_EQ(slice(wide.get(), n + 5, 2, n), want);
      EXPECT_EQ(slice(wide.get(), n + 5, n + 2, 3), Floats(static_cast<size_t>(rows * 3), 3.0f));

      // Rows that begin at a multiple of 16 bytes and end where they like.
      const int64_t width = (n + 23) / 8 * 8;
      Tensor even({rows, width}, Floats(static_cast<size_t>(rows * width), 3.0f), dy);
      const rl_tensor aligned = columns(even, 8, {rows, n});
      RL_CHECK(rl_add(&aligned, ta, tb));
      EXPECT_EQ(slice(even.get(), width, 8, n), want);
      EXPECT_EQ(slice(even.get(), width, n + 8, width - n - 8),
                Floats(static_cast<size_t>(rows * (width - n - 8)), 3.0f));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Dtypes, Add,
                         testing::Combine(testing::Values(RL_F32, RL_BF16), testing::Values(RL_F32, RL_BF16),
                                          testing::Values(RL_F32, RL_BF16)));

TEST(Add, OutputMayBeEitherInput) {
  for (int32_t dtype : {RL_F32, RL_BF16}) {
    const Floats a = random_floats(5 * 33, 1, dtype), b = random_floats(5 * 33, 2, dtype);
    Tensor ta({5, 33}, a, dtype), tb({5, 33}, b, dtype), ty({5, 33}, dtype);
    RL_CHECK(rl_add(ty, ta, tb));
    const Floats want = ty.get();
    RL_CHECK(rl_add(ta, ta, tb));
    EXPECT_EQ(ta.get(), want);
    ta.set(a);
    RL_CHECK(rl_add(tb, ta, tb));
    EXPECT_EQ(tb.get(), want);
    RL_CHECK(rl_add(ta, ta, ta));
    for (size_t i = 0; i < a.size(); i++) ASSERT_EQ(ta.get()[i], 2 * a[i]);
  }
}

TEST(Add, AnyRankAndEmpty) {
  Tensor a({2, 3, 4}, Floats(24, 1.0f)), b({2, 3, 4}, Floats(24, 2.0f)), y({2, 3, 4});
  RL_CHECK(rl_add(y, a, b));
  EXPECT_EQ(y.get(), Floats(24, 3.0f));
  Tensor s({}, Floats{1}), t({}, Floats{2}), u({}, RL_F32);
  RL_CHECK(rl_add(u, s, t));
  EXPECT_EQ(u.get(), Floats{3});
  Tensor e({0, 4}), f({0, 4}), g({0, 4});
  RL_CHECK(rl_add(g, e, f));
}

TEST(AddErrors, NamesWhatIsWrong) {
  Tensor a({4, 8}), b({4, 8}), y({4, 8}), c({4, 7}), ids({4, 8}, RL_I32), half({4, 8}, RL_F16);
  expect_error(rl_add(nullptr, a, b), RL_INVALID_ARGUMENT, {"add", "y", "null"});
  expect_error(rl_add(y, nullptr, b), RL_INVALID_ARGUMENT, {"add", "a", "null"});
  expect_error(rl_add(y, a, c), RL_INVALID_ARGUMENT, {"b", "expected shape [4,8]", "found [4,7]"});
  expect_error(rl_add(ids, a, b), RL_INVALID_ARGUMENT, {"y", "expected f32 or bf16", "found i32"});
  expect_error(rl_add(y, half, b), RL_INVALID_ARGUMENT, {"a", "expected f32 or bf16", "found f16"});
  // The same memory, shifted by a row, or read as another dtype, is no alias.
  Tensor big({6, 8});
  rl_tensor low = *static_cast<const rl_tensor *>(big), high = low;
  low.shape[0] = high.shape[0] = 4;
  high.offset = 2 * 8 * 4;
  expect_error(rl_add(&high, &low, b), RL_INVALID_ARGUMENT, {"y", "overlaps a"});
  rl_tensor narrow = low;
  narrow.dtype = RL_BF16;
  expect_error(rl_add(&narrow, &low, b), RL_INVALID_ARGUMENT, {"y", "overlaps a"});
}

}  // namespace
}  // namespace rl::test
