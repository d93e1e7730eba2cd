#include "attention_reference.h"

namespace rl::test {
namespace {

/// Fills slots of a cache with sequences, asks for the last token of each, and compares with attention's last rows.
void check(const std::vector<int64_t> &lengths, int64_t heads, int64_t kv_heads, int64_t d, int64_t window, int32_t dtype) {
  const int64_t b = static_cast<int64_t>(lengths.size()), capacity = 200, slots = b + 2;
  const AttentionShape s{lengths, heads, kv_heads, d, window};
  const int64_t t = s.tokens();
  const Floats q = random_floats(t * heads * d, 1, dtype), k = random_floats(t * kv_heads * d, 2, dtype),
               v = random_floats(t * kv_heads * d, 3, dtype);
  Tensor tq({t, heads, d}, q, dtype), tk({t, kv_heads, d}, k, dtype), tv({t, kv_heads, d}, v, dtype);
  // What no sequence wrote is NaN: a read beyond the length or the slot would show.
  Tensor ck({slots, capacity, kv_heads, d}, dtype), cv({slots, capacity, kv_heads, d}, dtype);
  RL_CHECK(rl_fill(ck, NAN));
  RL_CHECK(rl_fill(cv, NAN));
  Ints slot, position, length, last, row_slot;
  int32_t row = 0;
  for (int64_t i = 0; i < b; i++) {
    for (int64_t p = 0; p < lengths[static_cast<size_t>(i)]; p++, row++) {
      slot.push_back(static_cast<int32_t>(b - i));
      position.push_back(static_cast<int32_t>(p));
    }
    length.push_back(static_cast<int32_t>(lengths[static_cast<size_t>(i)]));
    row_slot.push_back(static_cast<int32_t>(b - i));
    last.push_back(row - 1);
  }
  Tensor ts({t}, slot), tp({t}, position), tlength({b}, length), tslot({b}, row_slot);
  RL_CHECK(rl_kv_append(ck, cv, tk, tv, ts, tp));

  const int64_t n = heads * d, width = n + 2 * kv_heads * d;
  Floats fused(static_cast<size_t>(b * width), NAN), want;
  const AttentionResult r = attention_reference(s, doubles(q), doubles(k), doubles(v));
  for (size_t i = 0; i < static_cast<size_t>(b); i++) {
    for (size_t c = 0; c < static_cast<size_t>(n); c++) {
      const size_t at = static_cast<size_t>(last[i] * n) + c;
      fused[i * static_cast<size_t>(width) + c] = q[at];
      want.push_back(static_cast<float>(r.o[at]));
    }
  }
  Tensor tf({b, width}, fused, dtype), to({b, n + 7}, dtype);
  const rl_tensor vq = columns(tf, 0, {b, heads, d}), vo = columns(to, 3, {b, heads, d});
  RL_CHECK(rl_fill(to, 5));
  RL_CHECK(rl_attention_decode(&vo, &vq, ck, cv, tslot, tlength, static_cast<float>(s.scale()), static_cast<int32_t>(window)));
  expect_matches(slice(to.get(), n + 7, 3, n), want, dtype, "o");
  EXPECT_EQ(slice(to.get(), n + 7, 0, 3), Floats(static_cast<size_t>(3 * b), 5.0f));
  EXPECT_EQ(slice(to.get(), n + 7, n + 3, 4), Floats(static_cast<size_t>(4 * b), 5.0f));

  // And as attention itself computes them.
  Tensor tattention({t, heads, d}, dtype), tl({heads, t}), tcu({b + 1}, s.cu_seqlens()), tlast({b}, last), rows({b, n}, dtype);
  RL_CHECK(rl_attention(tattention, tl, tq, tk, tv, tcu, static_cast<float>(s.scale()), static_cast<int32_t>(window)));
  rl_tensor flat = columns(tattention, 0, {t, n});
  RL_CHECK(rl_gather_rows(rows, &flat, tlast));
  expect_matches(slice(to.get(), n + 7, 3, n), rows.get(), dtype, "o against attention");
}

class AttentionDecode : public testing::TestWithParam<int32_t> {};

TEST_P(AttentionDecode, EqualsAttentionsLastRow) {
  check({1}, 1, 1, 16, 0, GetParam());
  check({200, 1, 17, 64}, 9, 3, 64, 0, GetParam());
  for (int64_t length : {2, 15, 16, 17, 63, 65, 130}) check({length, length + 1}, 4, 2, 64, 0, GetParam());
}

TEST_P(AttentionDecode, HeadSizesAndGroups) {
  for (int64_t d : {1, 7, 16, 33, 64, 80, 128, 160}) check({21, 40}, 4, 2, d, 0, GetParam());
  for (auto [heads, kv] : {std::pair<int64_t, int64_t>{1, 1}, {6, 6}, {8, 1}, {5, 1}, {15, 5}}) {
    check({30, 3, 77}, heads, kv, 32, 0, GetParam());
  }
}

TEST_P(AttentionDecode, Windows) {
  for (int64_t window : {1, 2, 16, 17, 64, 199, 200, 1000}) check({200, 16, 1, 65}, 2, 1, 32, window, GetParam());
}

TEST_P(AttentionDecode, ManyRows) {
  std::vector<int64_t> lengths;
  for (int64_t i = 0; i < 40; i++) lengths.push_back(1 + (i * 37) % 200);
  check(lengths, 3, 1, 64, 0, GetParam());
}

INSTANTIATE_TEST_SUITE_P(Dtypes, AttentionDecode, testing::Values(RL_F32, RL_BF16));

TEST(AttentionDecodeErrors, IndicesOutOfRange) {
  Tensor q({2, 2, 8}, Floats(32, 1.0f)), o({2, 2, 8}, Floats(32, 9.0f)), ck({3, 5, 1, 8}, Floats(120, 1.0f)), cv({3, 5, 1, 8}, Floats(120, 1.0f));
  Tensor good({2}, Ints{1, 2});
  for (int32_t bad : {-1, 3, INT32_MAX, INT32_MIN}) {
    Tensor index({2}, Ints{bad, 0});
    expect_error(rl_attention_decode(o, q, ck, cv, index, good, 1, 0), RL_INVALID_ARGUMENT,
                 {"attention_decode", "slots[0] is " + std::to_string(bad), "expected 0 to 2"});
  }
  for (int32_t bad : {0, -1, 6, INT32_MAX, INT32_MIN}) {
    Tensor length({2}, Ints{5, bad});
    expect_error(rl_attention_decode(o, q, ck, cv, good, length, 1, 0), RL_INVALID_ARGUMENT,
                 {"lengths[1] is " + std::to_string(bad), "expected 1 to 5"});
  }
  EXPECT_EQ(o.get(), Floats(32, 9.0f));
}

TEST(AttentionDecodeErrors, NamesWhatIsWrong) {
  Tensor q({2, 3, 8}), o({2, 3, 8}), ck({3, 5, 2, 8}), cv({3, 5, 2, 8}), c1({3, 5, 1, 8}), d1({3, 5, 1, 8}), cd({3, 5, 1, 4});
  Tensor half({3, 5, 1, 8}, RL_BF16), i({2}, Ints{1, 2}), j({3}, Ints{1, 2, 2});
  expect_error(rl_attention_decode(o, q, ck, cv, i, i, 1, 0), RL_INVALID_ARGUMENT, {"q", "multiple of the cache's 2 heads", "3"});
  expect_error(rl_attention_decode(o, q, cd, d1, i, i, 1, 0), RL_INVALID_ARGUMENT, {"cacheK", "found [3,5,1,4]"});
  expect_error(rl_attention_decode(o, q, c1, half, i, i, 1, 0), RL_INVALID_ARGUMENT, {"cacheV", "expected dtype f32", "found bf16"});
  expect_error(rl_attention_decode(o, q, c1, d1, j, i, 1, 0), RL_INVALID_ARGUMENT, {"slots", "expected shape [2]", "found [3]"});
  expect_error(rl_attention_decode(o, q, c1, d1, i, i, 1, -2), RL_INVALID_ARGUMENT, {"window", "-2"});
  expect_error(rl_attention_decode(o, nullptr, c1, d1, i, i, 1, 0), RL_INVALID_ARGUMENT, {"q", "null"});
}

}  // namespace
}  // namespace rl::test
