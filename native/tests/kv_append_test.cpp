#include "support.h"

namespace rl::test {
namespace {

/// k and v are columns from `from` on of rows that are `beside` columns wider than both.
void check_append(int32_t dtype, int64_t t, int64_t d, int64_t from, int64_t beside) {
  const int64_t slots = 4, length = 9, heads = 2, n = heads * d, width = 2 * n + beside;
  const Floats start = random_floats(slots * length * n, 1, dtype),
               start_v = random_floats(slots * length * n, 2, dtype);
  const Floats fused = random_floats(t * width, 3, dtype);
  Ints at_slot, at_position;
  for (int64_t i = 0; i < t; i++) {
    at_slot.push_back(static_cast<int32_t>(3 - i % 4));
    at_position.push_back(static_cast<int32_t>(8 - i / 4 * 2));
  }
  Tensor ck({slots, length, heads, d}, start, dtype), cv({slots, length, heads, d}, start_v, dtype),
      f({t, width}, fused, dtype);
  Tensor ts({t}, at_slot), tp({t}, at_position);
  const rl_tensor k = columns(f, from, {t, heads, d}), v = columns(f, from + n, {t, heads, d});
  RL_CHECK(rl_kv_append(ck, cv, &k, &v, ts, tp));
  Floats want = start, want_v = start_v;
  for (size_t i = 0; i < static_cast<size_t>(t); i++) {
    for (size_t c = 0; c < static_cast<size_t>(n); c++) {
      const size_t to = static_cast<size_t>((at_slot[i] * length + at_position[i]) * n) + c;
      want[to] = fused[i * static_cast<size_t>(width) + static_cast<size_t>(from) + c];
      want_v[to] = fused[i * static_cast<size_t>(width) + static_cast<size_t>(from + n) + c];
    }
  }
  EXPECT_EQ(ck.get(), want);
  EXPECT_EQ(cv.get(), want_v);
}

TEST(KvAppend, WritesItsPlacesAndNoOthers) {
  for (int32_t dtype : {RL_F32, RL_BF16, RL_F16}) {
    for (int64_t t : {1, 2, 13}) check_append(dtype, t, 5, 2, 3);
    for (int64_t d : {1, 4, 8, 9, 64, 80}) {
      check_append(dtype, 3, d, 0, 0);
      check_append(dtype, 3, d, 8, 8);
      check_append(dtype, 3, d, 1, 8);
    }
    check_append(dtype, 2, 600, 8, 16);
  }
}

TEST(KvAppend, SlotsOfAPaddedCache) {
  // The first dimension of a cache may be strided as any other's.
  Tensor all({3, 2 * 4 * 5}, Floats(120, 1.0f)), k({1, 1, 5}, Floats(5, 2.0f)), v({1, 1, 5}, Floats(5, 3.0f));
  const rl_tensor ck = columns(all, 0, {3, 4, 1, 5}), cv = columns(all, 20, {3, 4, 1, 5});
  Tensor slot({1}, Ints{2}), position({1}, Ints{3});
  RL_CHECK(rl_kv_append(&ck, &cv, k, v, slot, position));
  Floats want(120, 1.0f);
  for (size_t i = 0; i < 5; i++) {
    want[2 * 40 + 15 + i] = 2;
    want[2 * 40 + 35 + i] = 3;
  }
  EXPECT_EQ(all.get(), want);
}

TEST(KvAppendErrors, IndicesOutOfRangeLeaveTheCacheAlone) {
  Tensor ck({2, 3, 1, 4}, Floats(24, 1.0f)), cv({2, 3, 1, 4}, Floats(24, 1.0f)), k({2, 1, 4}, Floats(8, 2.0f)),
      v({2, 1, 4}, Floats(8, 2.0f));
  Tensor good({2}, Ints{0, 1});
  for (int32_t bad : {-1, 3, INT32_MAX, INT32_MIN}) {
    Tensor index({2}, Ints{0, bad});
    const std::string found = std::to_string(bad);
    expect_error(rl_kv_append(ck, cv, k, v, index, good), RL_INVALID_ARGUMENT,
                 {"kv_append", "slots[1] is " + found, "expected 0 to 1"});
    expect_error(rl_kv_append(ck, cv, k, v, good, index), RL_INVALID_ARGUMENT,
                 {"positions[1] is " + found, "expected 0 to 2"});
  }
  EXPECT_EQ(ck.get(), Floats(24, 1.0f));
  EXPECT_EQ(cv.get(), Floats(24, 1.0f));
}

TEST(KvAppendErrors, NamesWhatIsWrong) {
  Tensor ck({2, 3, 1, 4}), cv({2, 3, 1, 4}), cs({2, 3, 1, 5}), k({2, 1, 4}), v({2, 1, 4}), half({2, 1, 4}, RL_BF16),
      w({2, 1, 5});
  Tensor i({2}, Ints{0, 1}), j({3}, Ints{0, 1, 1});
  expect_error(rl_kv_append(nullptr, cv, k, v, i, i), RL_INVALID_ARGUMENT, {"cacheK", "null"});
  Tensor integers({2, 3, 1, 4}, RL_I32);
  expect_error(rl_kv_append(integers, cv, k, v, i, i), RL_INVALID_ARGUMENT,
               {"cacheK: expected f32, bf16 or f16, found i32"});
  expect_error(rl_kv_append(ck, cs, k, v, i, i), RL_INVALID_ARGUMENT,
               {"cacheV", "expected shape [2,3,1,4]", "found [2,3,1,5]"});
  expect_error(rl_kv_append(ck, cv, half, v, i, i), RL_INVALID_ARGUMENT, {"k", "expected dtype f32", "found bf16"});
  expect_error(rl_kv_append(ck, cv, k, w, i, i), RL_INVALID_ARGUMENT, {"v", "found [2,1,5]"});
  expect_error(rl_kv_append(ck, cv, k, v, j, i), RL_INVALID_ARGUMENT, {"slots", "expected shape [2]", "found [3]"});
  expect_error(rl_kv_append(ck, ck, k, v, i, i), RL_INVALID_ARGUMENT, {"cacheK", "overlaps cacheV"});
}

}  // namespace
}  // namespace rl::test
