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
void check(const AttentionShape &s, int32_t dtype, float spread = 1, bool differences = false) {
  const int64_t t = s.tokens(), nq = s.heads * s.d, nk = s.kv_heads * s.d, width = nq + 2 * nk;
  Floats fused = random_floats(t * width, 11, dtype);
  for (size_t i = 0; i < fused.size(); i++) {
    if (static_cast<int64_t>(i) % width < nq + nk) fused[i] *= spread;  // queries and keys; a power of two
  }
  const Floats g = random_floats(t * nq, 12, dtype);
  const std::vector<double> q = doubles(slice(fused, width, 0, nq)), k = doubles(slice(fused, width, nq, nk)),
                            v = doubles(slice(fused, width, nq + nk, nk)), go = doubles(g);
  Tensor tf({t, width}, fused, dtype), to({t, s.heads, s.d}, dtype), tl({s.heads, t}), tg({t, s.heads, s.d}, g, dtype);
  Tensor tgf({t, width}, Floats(fused.size(), 3.0f), dtype), tcu({static_cast<int64_t>(s.lengths.size()) + 1}, s.cu_seqlens());
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

class Attention : public testing::TestWithParam<int32_t> {};

TEST_P(Attention, MatchesCentralDifferences) {
  check({{5}, 1, 1, 4}, GetParam(), 1, true);
  check({{3, 1, 4}, 4, 2, 6}, GetParam(), 1, true);
  check({{2, 7}, 3, 1, 8, 3}, GetParam(), 1, true);
}

TEST_P(Attention, LengthsAroundTheBlocks) {
  for (int64_t length : {1, 2, 15, 16, 17, 31, 33, 63, 64, 65, 127, 128, 130}) {
    SCOPED_TRACE(length);
    check({{length}, 3, 1, 64}, GetParam());
    if (testing::Test::HasFatalFailure()) return;
  }
}

TEST_P(Attention, PackedSequencesDoNotSeeEachOther) { check({{1, 15, 16, 1, 17, 63, 64, 65, 130, 2}, 3, 1, 16}, GetParam()); }

TEST_P(Attention, EmptySequencesAmongThem) { check({{0, 3, 0, 0, 20, 0}, 2, 2, 16}, GetParam()); }

TEST_P(Attention, HeadSizes) {
  for (int64_t d : {1, 2, 7, 8, 16, 24, 32, 33, 64, 80, 96, 128, 160, 256}) {
    SCOPED_TRACE(d);
    check({{37, 5}, 2, 1, d}, GetParam());
  }
}

TEST_P(Attention, Groups) {
  for (auto [heads, kv] : {std::pair<int64_t, int64_t>{1, 1}, {4, 4}, {4, 2}, {9, 3}, {8, 1}, {7, 7}, {5, 1}}) {
    SCOPED_TRACE(heads * 100 + kv);
    check({{40, 19}, heads, kv, 16}, GetParam());
  }
}

TEST_P(Attention, Windows) {
  for (int64_t window : {1, 2, 15, 16, 17, 63, 64, 65, 129, 130, 1000}) {
    SCOPED_TRACE(window);
    check({{130, 7, 70}, 2, 1, 32, window}, GetParam());
  }
  check({{130}, 1, 1, 16, INT32_MAX}, GetParam());
}

TEST_P(Attention, LongSequence) { check({{700, 301}, 3, 1, 64}, GetParam()); }

TEST_P(Attention, PeakedScores) { check({{50, 70}, 2, 1, 64}, GetParam(), 2); }

INSTANTIATE_TEST_SUITE_P(Dtypes, Attention, testing::Values(RL_F32, RL_BF16));

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
    for (size_t c = 0; c < 16; c++) EXPECT_NEAR(static_cast<double>(o[i * 16 + c]), static_cast<double>(v[2 * 16 + c]), 1e-5);
  }
  Tensor gq({t, 1, d}), gk({t, 1, d}), gv({t, 1, d}), go({t, 1, d}, Floats(q.size(), 1.0f));
  RL_CHECK(rl_attention_backward(gq, gk, gv, go, to, tl, tq, tk, tv, cu, 1.0f, 0));
  for (const Floats &g : {gq.get(), gk.get(), gv.get()}) {
    for (float x : g) ASSERT_TRUE(std::isfinite(x));
  }
}

TEST(AttentionRepeats, SameBits) {
  const AttentionShape s{{90, 33, 64}, 4, 2, 64};
  const int64_t t = s.tokens();
  Tensor q({t, 4, 64}, random_floats(t * 256, 1)), k({t, 2, 64}, random_floats(t * 128, 2)), v({t, 2, 64}, random_floats(t * 128, 3));
  Tensor o({t, 4, 64}), l({4, t}), gq({t, 4, 64}), gk({t, 2, 64}), gv({t, 2, 64}), cu({4}, s.cu_seqlens());
  std::vector<Floats> first;
  for (int round = 0; round < 4; round++) {
    RL_CHECK(rl_attention(o, l, q, k, v, cu, 0.125f, 0));
    RL_CHECK(rl_attention_backward(gq, gk, gv, q, o, l, q, k, v, cu, 0.125f, 0));
    const std::vector<Floats> now = {o.get(), l.get(), gq.get(), gk.get(), gv.get()};
    if (round == 0) first = now;
    EXPECT_EQ(now, first);
  }
}

TEST(AttentionErrors, CuSeqlens) {
  const int64_t t = 6;
  Tensor q({t, 2, 8}), k({t, 1, 8}), v({t, 1, 8}), o({t, 2, 8}), l({2, t}), g({t, 2, 8}), gq({t, 2, 8}), gk({t, 1, 8}), gv({t, 1, 8});
  for (const Tensor *x : {&q, &k, &v, &o, &l, &g}) RL_CHECK(rl_fill(*x, 1));
  auto both = [&](const Ints &cu, const std::vector<std::string> &parts) {
    Tensor tcu({static_cast<int64_t>(cu.size())}, cu);
    expect_error(rl_attention(o, l, q, k, v, tcu, 1, 0), RL_INVALID_ARGUMENT, parts);
    expect_error(rl_attention_backward(gq, gk, gv, g, o, l, q, k, v, tcu, 1, 0), RL_INVALID_ARGUMENT, parts);
  };
  both({1, 6}, {"cu_seqlens[0] is 1", "expected 0"});
  both({0, 5}, {"cu_seqlens[1] is 5", "6"});
  both({0, 7}, {"cu_seqlens[1] is 7", "6"});
  both({0, 4, 3, 6}, {"cu_seqlens[2] is 3"});
  both({0, -1, 6}, {"cu_seqlens[1] is -1"});
  both({0, INT32_MAX, 6}, {"cu_seqlens"});
  both({0}, {"cu_seqlens", "at least 2"});
}

TEST(AttentionErrors, NamesWhatIsWrong) {
  Tensor q({6, 3, 8}), k({6, 2, 8}), v({6, 2, 8}), o({6, 3, 8}), l({3, 6}), cu({2}, Ints{0, 6});
  expect_error(rl_attention(o, l, q, k, v, cu, 1, 0), RL_INVALID_ARGUMENT, {"attention", "q", "multiple of the 2 key heads", "3"});
  Tensor k1({6, 1, 8}), v1({6, 1, 8}), kd({6, 1, 4}), kt({5, 1, 8}), half({6, 1, 8}, RL_BF16), lt({6, 3});
  expect_error(rl_attention(o, l, q, kd, v1, cu, 1, 0), RL_INVALID_ARGUMENT, {"k", "expected shape [6,*,8]", "found [6,1,4]"});
  expect_error(rl_attention(o, l, q, kt, v1, cu, 1, 0), RL_INVALID_ARGUMENT, {"k", "found [5,1,8]"});
  expect_error(rl_attention(o, l, q, half, v1, cu, 1, 0), RL_INVALID_ARGUMENT, {"k", "expected dtype f32", "found bf16"});
  expect_error(rl_attention(o, l, q, k1, v, cu, 1, 0), RL_INVALID_ARGUMENT, {"v", "expected shape [6,1,8]", "found [6,2,8]"});
  expect_error(rl_attention(o, lt, q, k1, v1, cu, 1, 0), RL_INVALID_ARGUMENT, {"lse", "expected shape [3,6]", "found [6,3]"});
  expect_error(rl_attention(o, l, q, k1, v1, cu, 1, -1), RL_INVALID_ARGUMENT, {"window", "-1"});
  expect_error(rl_attention(nullptr, l, q, k1, v1, cu, 1, 0), RL_INVALID_ARGUMENT, {"o", "null"});
  expect_error(rl_attention(q, l, q, k1, v1, cu, 1, 0), RL_INVALID_ARGUMENT, {"o", "overlaps q"});
  expect_error(rl_attention(o, l, q, k1, v1, k1, 1, 0), RL_INVALID_ARGUMENT, {"cu_seqlens", "expected dtype i32"});
  Tensor gq({6, 3, 8}), gk({6, 1, 8});
  expect_error(rl_attention_backward(gq, gk, nullptr, o, o, l, q, k1, v1, cu, 1, 0), RL_INVALID_ARGUMENT,
               {"attention_backward", "gradV", "null"});
  expect_error(rl_attention_backward(gq, gk, gk, o, o, l, q, k1, v1, cu, 1, 0), RL_INVALID_ARGUMENT, {"gradK", "overlaps gradV"});
}

}  // namespace
}  // namespace rl::test
