// Attention over sweeps of lengths, head sizes, groups and windows; attention_decode against its last rows.
#include "attention_reference.h"

namespace rl::test {
namespace {

/// expect_matches, where the truth may be 0 everywhere (one key: its probability is 1, whatever the query): what f32 leaves of a
/// difference of equal terms is not measured against 0.
void expect_gradient(const Floats &got, const Floats &want, int32_t dtype, const std::string &what) {
  double largest = 0;
  for (float w : want) largest = std::max(largest, std::abs(static_cast<double>(w)));
  if (largest > 0) {
    expect_matches(got, want, dtype, what, true);
  } else {
    expect_close(got, want, 2e-6, 0, what);
  }
}

/// Runs forward and backward on slices of fused matrices, and compares with the reference.
void check(const AttentionShape &s, int32_t dtype, float spread = 1, bool differences = false, float gradient = 1) {
  const int64_t t = s.tokens(), nq = s.heads * s.d, nk = s.kv_heads * s.d, width = nq + 2 * nk;
  Floats fused = random_floats(t * width, 11, dtype);
  for (size_t i = 0; i < fused.size(); i++) {
    if (static_cast<int64_t>(i) % width < nq + nk) fused[i] *= spread;  // queries and keys; a power of two
  }
  Floats g = random_floats(t * nq, 12, dtype);
  for (float &x : g) x = is_16_bits(dtype) ? number(stored(x * gradient, dtype), dtype) : x * gradient;
  const std::vector<double> q = doubles(slice(fused, width, 0, nq)), k = doubles(slice(fused, width, nq, nk)),
                            v = doubles(slice(fused, width, nq + nk, nk)), go = doubles(g);
  Tensor tf({t, width}, fused, dtype), to({t, s.heads, s.d}, dtype), tl({s.heads, t}), tg({t, s.heads, s.d}, g, dtype);
  Tensor tgf({t, width}, Floats(fused.size(), 3.0f), dtype),
      tcu({static_cast<int64_t>(s.lengths.size()) + 1}, s.cu_seqlens());
  const rl_tensor vq = columns(tf, 0, {t, s.heads, s.d}), vk = columns(tf, nq, {t, s.kv_heads, s.d}),
                  vv = columns(tf, nq + nk, {t, s.kv_heads, s.d});
  const rl_tensor gq = columns(tgf, 0, {t, s.heads, s.d}), gk = columns(tgf, nq, {t, s.kv_heads, s.d}),
                  gv = columns(tgf, nq + nk, {t, s.kv_heads, s.d});
  const float scale = static_cast<float>(s.scale());
  const int32_t window = static_cast<int32_t>(s.window);
  RL_CHECK(rl_attention(to, tl, &vq, &vk, &vv, tcu, scale, window));
  AttentionResult want = attention_reference(s, q, k, v, &go);
  expect_matches(to.get(), floats(want.o), dtype, "o");
  expect_close(tl.get(), floats(want.lse), dtype == RL_BF16 ? 1e-3 : 1e-5, dtype == RL_BF16 ? 1e-3 : 1e-4, "lse");

  RL_CHECK(rl_attention_backward(&gq, &gk, &gv, tg, to, tl, &vq, &vk, &vv, tcu, scale, window));
  if (differences) {
    auto loss = [&](const std::vector<double> &a, const std::vector<double> &b, const std::vector<double> &c) {
      const AttentionResult r = attention_reference(s, a, b, c);
      double sum = 0;
      for (size_t i = 0; i < go.size(); i++) sum += r.o[i] * go[i];
      return sum;
    };
    want.gq = doubles(central_differences(q, [&](const std::vector<double> &x) { return loss(x, k, v); }));
    want.gk = doubles(central_differences(k, [&](const std::vector<double> &x) { return loss(q, x, v); }));
    want.gv = doubles(central_differences(v, [&](const std::vector<double> &x) { return loss(q, k, x); }));
  }
  const Floats grads = tgf.get();
  expect_gradient(slice(grads, width, 0, nq), floats(want.gq), dtype, "gradQ");
  expect_gradient(slice(grads, width, nq, nk), floats(want.gk), dtype, "gradK");
  expect_gradient(slice(grads, width, nq + nk, nk), floats(want.gv), dtype, "gradV");
}

class AttentionSweep : public testing::TestWithParam<int32_t> {};

TEST_P(AttentionSweep, MatchesCentralDifferences) {
  check({{5}, 1, 1, 4}, GetParam(), 1, true);
  check({{3, 1, 4}, 4, 2, 6}, GetParam(), 1, true);
  check({{2, 7}, 3, 1, 8, 3}, GetParam(), 1, true);
}

TEST_P(AttentionSweep, LengthsAroundTheBlocks) {
  for (int64_t length : {1, 2, 15, 16, 17, 31, 33, 63, 64, 65, 127, 128, 130}) {
    SCOPED_TRACE(length);
    check({{length}, 3, 1, 64}, GetParam());
    if (testing::Test::HasFatalFailure()) return;
  }
}

TEST_P(AttentionSweep, PackedSequencesDoNotSeeEachOther) {
  check({{1, 15, 16, 1, 17, 63, 64, 65, 130, 2}, 3, 1, 16}, GetParam());
}

TEST_P(AttentionSweep, EmptySequencesAmongThem) { check({{0, 3, 0, 0, 20, 0}, 2, 2, 16}, GetParam()); }

TEST_P(AttentionSweep, HeadSizes) {
  for (int64_t d : {1, 2, 7, 8, 16, 24, 32, 33, 64, 80, 96, 128, 160, 256}) {
    SCOPED_TRACE(d);
    check({{37, 5}, 2, 1, d}, GetParam());
  }
}

TEST_P(AttentionSweep, Groups) {
  for (auto [heads, kv] : {std::pair<int64_t, int64_t>{1, 1}, {4, 4}, {4, 2}, {9, 3}, {8, 1}, {7, 7}, {5, 1}}) {
    SCOPED_TRACE(heads * 100 + kv);
    check({{40, 19}, heads, kv, 16}, GetParam());
  }
}

TEST_P(AttentionSweep, Windows) {
  for (int64_t window : {1, 2, 15, 16, 17, 63, 64, 65, 129, 130, 1000}) {
    SCOPED_TRACE(window);
    check({{130, 7, 70}, 2, 1, 32, window}, GetParam());
  }
  check({{130}, 1, 1, 16, INT32_MAX}, GetParam());
}

TEST_P(AttentionSweep, LongSequence) {
  check({emulated() ? std::vector<int64_t>{180, 71} : std::vector<int64_t>{700, 301}, 3, 1, 64}, GetParam());
}

TEST_P(AttentionSweep, PeakedScores) { check({{50, 70}, 2, 1, 64}, GetParam(), 2); }

INSTANTIATE_TEST_SUITE_P(Dtypes, AttentionSweep, testing::Values(RL_F32, RL_BF16));

// f16 is bf16's code with another mma: less of the sweep tells whether that is right.
TEST(AttentionF16, Shapes) {
  for (int64_t d : {1, 64, 65, 80, 96, 127, 128}) {
    SCOPED_TRACE(d);
    check({{37, 5}, 2, 1, d}, RL_F16);
  }
  check({{1, 15, 16, 1, 17, 63, 64, 65, 2}, 3, 1, 64}, RL_F16);
  check({{130, 7, 70}, 2, 1, 80, 65}, RL_F16);
  check({{50, 70}, 2, 1, 64}, RL_F16, 2);
}

// Gradients of the size that a loss scale should give, and three powers of ten away on either side: ds, which is rounded to f16
// on tensor cores, is about as large as they are.
TEST(AttentionF16, SizesOfGradients) {
  for (float gradient : {0x1p-12f, 0x1p8f}) {
    SCOPED_TRACE(gradient);
    check({{90, 33}, 2, 1, 64}, RL_F16, 1, false, gradient);
  }
}

// What f16 does not hold becomes infinite or NaN, where a loss scale looks for it, and never a wrong number.
TEST(AttentionF16, OverflowShows) {
  const AttentionShape s{{40}, 1, 1, 64};
  const int64_t n = 40 * 64;
  Floats in[4];
  for (uint32_t i = 0; i < 4; i++) in[i] = random_floats(n, 21 + i, RL_F16);
  for (float &x : in[2]) x *= 16;
  for (float &x : in[3]) x *= 8192;  // products of the two are far beyond f16, each of them is not
  const std::vector<double> go = doubles(in[3]);
  const AttentionResult want = attention_reference(s, doubles(in[0]), doubles(in[1]), doubles(in[2]), &go);
  Tensor q({40, 1, 64}, in[0], RL_F16), k({40, 1, 64}, in[1], RL_F16), v({40, 1, 64}, in[2], RL_F16),
      g({40, 1, 64}, in[3], RL_F16), o({40, 1, 64}, RL_F16), lse({1, 40}), gq({40, 1, 64}, RL_F16),
      gk({40, 1, 64}, RL_F16), gv({40, 1, 64}, RL_F16), cu({2}, s.cu_seqlens());
  const float scale = static_cast<float>(s.scale());
  RL_CHECK(rl_attention(o, lse, q, k, v, cu, scale, 0));
  RL_CHECK(rl_attention_backward(gq, gk, gv, g, o, lse, q, k, v, cu, scale, 0));
  int64_t overflown = 0;
  for (const auto &[got, exact] : {std::pair{gq.get(), want.gq}, {gk.get(), want.gk}, {gv.get(), want.gv}}) {
    double largest = 0;
    for (double x : exact) largest = std::max(largest, std::abs(x));
    for (size_t i = 0; i < got.size(); i++) {
      const double x = static_cast<double>(got[i]);
      overflown += !std::isfinite(x);
      ASSERT_TRUE(!std::isfinite(x) || std::abs(x - exact[i]) <= 2.5e-3 * largest)
          << i << ": " << x << ", " << exact[i];
    }
  }
  EXPECT_GT(overflown, 0);
}

TEST(AttentionLimits, ScoresOfThousandsDoNotOverflow) {
  // Key 2 outweighs all others by e^1000s: the output is its value.
  const int64_t t = 20, d = 16;
  Floats q(static_cast<size_t>(t * d), 10.0f), k(q.size(), -10.0f), v = random_floats(t * d, 1);
  for (size_t i = 0; i < 16; i++) k[2 * 16 + i] = 10;
  Tensor tq({t, 1, d}, q), tk({t, 1, d}, k), tv({t, 1, d}, v), to({t, 1, d}), tl({1, t}), cu({2}, Ints{0, 20});
  RL_CHECK(rl_attention(to, tl, tq, tk, tv, cu, 1.0f, 0));
  const Floats o = to.get(), lse = tl.get();
  for (size_t i = 2; i < 20; i++) {
    EXPECT_NEAR(static_cast<double>(lse[i]), 1600.0, 1e-3);
    for (size_t c = 0; c < 16; c++)
      EXPECT_NEAR(static_cast<double>(o[i * 16 + c]), static_cast<double>(v[2 * 16 + c]), 1e-5);
  }
  Tensor gq({t, 1, d}), gk({t, 1, d}), gv({t, 1, d}), go({t, 1, d}, Floats(q.size(), 1.0f));
  RL_CHECK(rl_attention_backward(gq, gk, gv, go, to, tl, tq, tk, tv, cu, 1.0f, 0));
  for (const Floats &g : {gq.get(), gk.get(), gv.get()}) {
    for (float x : g) ASSERT_TRUE(std::isfinite(x));
  }
}

/// Fills slots of a cache with sequences, asks for the last token of each, and compares with attention's last rows.
void check_decode(const std::vector<int64_t> &lengths, int64_t heads, int64_t kv_heads, int64_t d, int64_t window,
                  int32_t dtype) {
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
  RL_CHECK(rl_attention_decode(&vo, &vq, ck, cv, tslot, tlength, static_cast<float>(s.scale()),
                               static_cast<int32_t>(window)));
  expect_matches(slice(to.get(), n + 7, 3, n), want, dtype, "o");
  EXPECT_EQ(slice(to.get(), n + 7, 0, 3), Floats(static_cast<size_t>(3 * b), 5.0f));
  EXPECT_EQ(slice(to.get(), n + 7, n + 3, 4), Floats(static_cast<size_t>(4 * b), 5.0f));

  // And as attention itself computes them.
  Tensor tattention({t, heads, d}, dtype), tl({heads, t}), tcu({b + 1}, s.cu_seqlens());
  RL_CHECK(rl_attention(tattention, tl, tq, tk, tv, tcu, static_cast<float>(s.scale()), static_cast<int32_t>(window)));
  const Floats all = tattention.get();
  Floats rows;
  for (int32_t i : last) rows.insert(rows.end(), all.begin() + i * n, all.begin() + (i + 1) * n);
  expect_matches(slice(to.get(), n + 7, 3, n), rows, dtype, "o against attention");
}

class AttentionDecodeSweep : public testing::TestWithParam<int32_t> {};

TEST_P(AttentionDecodeSweep, EqualsAttentionsLastRow) {
  check_decode({1}, 1, 1, 16, 0, GetParam());
  check_decode({200, 1, 17, 64}, 9, 3, 64, 0, GetParam());
  for (int64_t length : {2, 15, 16, 17, 63, 65, 130}) check_decode({length, length + 1}, 4, 2, 64, 0, GetParam());
}

TEST_P(AttentionDecodeSweep, HeadSizesAndGroups) {
  for (int64_t d : {1, 7, 16, 33, 64, 80, 128, 160}) check_decode({21, 40}, 4, 2, d, 0, GetParam());
  for (auto [heads, kv] : {std::pair<int64_t, int64_t>{1, 1}, {6, 6}, {8, 1}, {5, 1}, {15, 5}}) {
    check_decode({30, 3, 77}, heads, kv, 32, 0, GetParam());
  }
}

TEST_P(AttentionDecodeSweep, Windows) {
  for (int64_t window : {1, 2, 16, 17, 64, 199, 200, 1000})
    check_decode({200, 16, 1, 65}, 2, 1, 32, window, GetParam());
}

TEST_P(AttentionDecodeSweep, ManyRows) {
  std::vector<int64_t> lengths;
  for (int64_t i = 0; i < 40; i++) lengths.push_back(1 + (i * 37) % 200);
  check_decode(lengths, 3, 1, 64, 0, GetParam());
}

INSTANTIATE_TEST_SUITE_P(Dtypes, AttentionDecodeSweep, testing::Values(RL_F32, RL_BF16));

TEST(AttentionDecodeF16, EqualsAttentionsLastRow) {
  check_decode({200, 1, 17, 64}, 9, 3, 64, 0, RL_F16);
  for (int64_t d : {7, 80, 96, 128}) check_decode({21, 40}, 4, 2, d, 0, RL_F16);
  check_decode({130, 16, 15}, 2, 1, 33, 17, RL_F16);
}

}  // namespace
}  // namespace rl::test
