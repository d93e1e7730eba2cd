#include "support.h"

namespace rl::test {
namespace {

TEST(Fill, EveryDtype) {
  for (int64_t n : {int64_t{1}, int64_t{33}, int64_t{100003}}) {
    Tensor f({n}), b({n}, RL_BF16), i({n}, RL_I32), h({n}, RL_F16), u({n}, RL_U8);
    RL_CHECK(rl_fill(f, -2.75));
    EXPECT_EQ(f.get(), Floats(static_cast<size_t>(n), -2.75f));
    RL_CHECK(rl_fill(b, 1.01));
    EXPECT_EQ(b.get(), Floats(static_cast<size_t>(n), bf16_to_f32(f32_to_bf16(1.01f))));
    RL_CHECK(rl_fill(i, -100));
    EXPECT_EQ(i.get_ints(), Ints(static_cast<size_t>(n), -100));
    RL_CHECK(rl_fill(i, 2147483647.0));
    EXPECT_EQ(i.get_ints(), Ints(static_cast<size_t>(n), 2147483647));
    RL_CHECK(rl_fill(h, 1.5));
    std::vector<uint16_t> halves(static_cast<size_t>(n));
    RL_CHECK(rl_copy_to_host(halves.data(), h, n * 2));
    EXPECT_EQ(halves, std::vector<uint16_t>(static_cast<size_t>(n), 0x3e00));
    RL_CHECK(rl_fill(u, 200));
    std::vector<uint8_t> bytes(static_cast<size_t>(n));
    RL_CHECK(rl_copy_to_host(bytes.data(), u, n));
    EXPECT_EQ(bytes, std::vector<uint8_t>(static_cast<size_t>(n), 200));
  }
}

TEST(Fill, StridedRowsLeaveTheRestAlone) {
  for (int32_t dtype : {RL_F32, RL_BF16}) {
    Tensor t({9, 10}, Floats(90, 1.0f), dtype);
    const rl_tensor view = columns(t, 4, {9, 3});
    RL_CHECK(rl_fill(&view, 5));
    const Floats got = t.get();
    EXPECT_EQ(slice(got, 10, 0, 4), Floats(36, 1.0f));
    EXPECT_EQ(slice(got, 10, 4, 3), Floats(27, 5.0f));
    EXPECT_EQ(slice(got, 10, 7, 3), Floats(27, 1.0f));
  }
}

TEST(Fill, SpecialValues) {
  Tensor t({5});
  RL_CHECK(rl_fill(t, -INFINITY));
  EXPECT_EQ(t.get(), Floats(5, -INFINITY));
  RL_CHECK(rl_fill(t, NAN));
  for (float v : t.get()) EXPECT_TRUE(std::isnan(v));
  Tensor empty({0});
  RL_CHECK(rl_fill(empty, 1));
}

template <class T>
T first(const rl_tensor *t) {
  T x{};
  EXPECT_EQ(rl_copy_to_host(&x, t, sizeof x), RL_OK) << rl_last_error();
  return x;
}

TEST(Fill, ValuesBeyondF16AreInfinite) {
  Tensor f16({1}, RL_F16);
  RL_CHECK(rl_fill(f16, 1e6));
  EXPECT_EQ(first<uint16_t>(f16), 0x7c00);
}

TEST(FillErrors, IntegersTakeWhatTheyCanHold) {
  Tensor i({3}, RL_I32), u({3}, RL_U8);
  expect_error(rl_fill(nullptr, 0), RL_INVALID_ARGUMENT, {"fill", "y", "null"});
  for (double bad : {1e300, static_cast<double>(NAN), 2147483648.0, 0.5}) {
    expect_error(rl_fill(i, bad), RL_INVALID_ARGUMENT, {"fill", "value", "i32"});
  }
  for (double bad : {-1.0, 256.0, 1.5}) expect_error(rl_fill(u, bad), RL_INVALID_ARGUMENT, {"fill", "value", "u8"});
}

}  // namespace
}  // namespace rl::test
