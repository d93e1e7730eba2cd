#include <deque>

#include "support.h"

namespace rl::test {
namespace {

using Doubles = std::vector<double>;

struct Case {
  std::vector<int32_t> lengths;
  int64_t heads, kvHeads, d;
  int32_t window;
  int32_t dtype;
};

void PrintTo(const Case &c, std::ostream *out) {
  for (int32_t n : c.lengths) *out << n << " ";
  *out << "heads " << c.heads << "/" << c.kvHeads << " d " << c.d << " window " << c.window << " dtype " << c.dtype;
}

/// The formulae as they stand, in double: q, o [T,heads,d], k, v [T,kvHeads,d], lse [heads,T].
class Reference {
 public:
  Reference(const Case &c, double scale) : c(c), scale(scale) {
    cu.push_back(0);
    for (int32_t n : c.lengths) cu.push_back(cu.back() + n);
    tokens = cu.back();
  }

  void forward(const Doubles &q, const Doubles &k, const Doubles &v, Doubles &o, Doubles &lse) const {
    o.assign(q.size(), 0);
    lse.assign(static_cast<size_t>(c.heads * tokens), 0);
    each_query([&](int64_t i, int64_t h, int64_t first) {
      const Doubles p = probabilities(q, k, i, h, first, lse[at(h * tokens + i)]);
      for (int64_t j = first; j <= i; j++) {
        for (int64_t e = 0; e < c.d; e++) o[qi(i, h, e)] += p[at(j - first)] * v[ki(j, h, e)];
      }
    });
  }

  void backward(const Doubles &q, const Doubles &k, const Doubles &v, const Doubles &go, Doubles &gq, Doubles &gk,
                Doubles &gv) const {
    gq.assign(q.size(), 0);
    gk.assign(k.size(), 0);
    gv.assign(v.size(), 0);
    each_query([&](int64_t i, int64_t h, int64_t first) {
      double lse = 0, mean = 0;
      const Doubles p = probabilities(q, k, i, h, first, lse);
      Doubles gp(p.size());
      for (int64_t j = first; j <= i; j++) {
        for (int64_t e = 0; e < c.d; e++) {
          gp[at(j - first)] += go[qi(i, h, e)] * v[ki(j, h, e)];
          gv[ki(j, h, e)] += p[at(j - first)] * go[qi(i, h, e)];
        }
        mean += p[at(j - first)] * gp[at(j - first)];
      }
      for (int64_t j = first; j <= i; j++) {
        const double gs = p[at(j - first)] * (gp[at(j - first)] - mean) * scale;
        for (int64_t e = 0; e < c.d; e++) {
          gq[qi(i, h, e)] += gs * k[ki(j, h, e)];
          gk[ki(j, h, e)] += gs * q[qi(i, h, e)];
        }
      }
    });
  }

  Case c;
  double scale;
  Ints cu;
  int64_t tokens = 0;

 private:
  static size_t at(int64_t i) { return static_cast<size_t>(i); }
  size_t qi(int64_t t, int64_t h, int64_t e) const { return at((t * c.heads + h) * c.d + e); }
  size_t ki(int64_t t, int64_t h, int64_t e) const { return at((t * c.kvHeads + h / (c.heads / c.kvHeads)) * c.d + e); }

  template <class Body>
  void each_query(Body &&body) const {
    for (size_t b = 0; b + 1 < cu.size(); b++) {
      for (int64_t i = cu[b]; i < cu[b + 1]; i++) {
        const int64_t first = c.window > 0 ? std::max<int64_t>(cu[b], i - c.window + 1) : cu[b];
        for (int64_t h = 0; h < c.heads; h++) body(i, h, first);
      }
    }
  }

  Doubles probabilities(const Doubles &q, const Doubles &k, int64_t i, int64_t h, int64_t first, double &lse) const {
    Doubles s(at(i - first + 1));
    double top = -1e300, sum = 0;
    for (int64_t j = first; j <= i; j++) {
      double dot = 0;
      for (int64_t e = 0; e < c.d; e++) dot += q[qi(i, h, e)] * k[ki(j, h, e)];
      s[at(j - first)] = dot * scale;
      top = std::max(top, dot * scale);
    }
    for (double x : s) sum += std::exp(x - top);
    lse = top + std::log(sum);
    for (double &x : s) x = std::exp(x - lse);
    return s;
  }
};

/// q, k and v as column slices of one fused tensor, as models make them; so are their gradients.
class Fused {
 public:
  Fused(const Case &c, int64_t tokens) : c_(c), tokens_(tokens), all_({tokens, width()}, c.dtype) {
    all_.set(Floats(static_cast<size_t>(tokens * width()), 7.0f));
    q = slice(0, c.heads);
    k = slice(c.heads, c.kvHeads);
    v = slice(c.heads + c.kvHeads, c.kvHeads);
  }

  void set(const Floats &fq, const Floats &fk, const Floats &fv) {
    Floats rows(static_cast<size_t>(tokens_ * width()));
    auto put = [&](const Floats &x, int64_t from, int64_t heads) {
      const int64_t n = heads * c_.d;
      for (int64_t t = 0; t < tokens_; t++) {
        std::copy(x.begin() + t * n, x.begin() + (t + 1) * n, rows.begin() + t * width() + from * c_.d);
      }
    };
    put(fq, 0, c_.heads);
    put(fk, c_.heads, c_.kvHeads);
    put(fv, c_.heads + c_.kvHeads, c_.kvHeads);
    all_.set(rows);
  }

  Floats get(const rl_tensor &part) const {
    const Floats rows = all_.get();
    Floats x;
    for (int64_t t = 0; t < tokens_; t++) {
      const auto from = rows.begin() + t * width() + part.offset / (is_16_bits(c_.dtype) ? 2 : 4);
      x.insert(x.end(), from, from + part.shape[1] * c_.d);
    }
    return x;
  }

  rl_tensor q, k, v;

 private:
  int64_t width() const { return (c_.heads + 2 * c_.kvHeads) * c_.d; }
  rl_tensor slice(int64_t from, int64_t heads) {
    rl_tensor t = all_.raw();
    t.rank = 3;
    t.shape[1] = heads;
    t.shape[2] = c_.d;
    t.stride[1] = c_.d;
    t.stride[2] = 1;
    t.offset = from * c_.d * (is_16_bits(c_.dtype) ? 2 : 4);
    return t;
  }

  Case c_;
  int64_t tokens_;
  Tensor all_;
};

class Attention : public testing::TestWithParam<Case> {};

TEST_P(Attention, MatchesTheFormulae) {
  const Case c = GetParam();
  const Reference reference(c, 1 / std::sqrt(static_cast<double>(c.d)));
  const int64_t tokens = reference.tokens, qn = tokens * c.heads * c.d, kn = tokens * c.kvHeads * c.d;
  const Floats q = random_floats(qn, 1, c.dtype), k = random_floats(kn, 2, c.dtype), v = random_floats(kn, 3, c.dtype);
  const Floats go = random_floats(qn, 4, c.dtype);
  const float scale = static_cast<float>(reference.scale);
  Fused x(c, tokens), grad(c, tokens);
  x.set(q, k, v);
  Tensor o({tokens, c.heads, c.d}, c.dtype), lse({c.heads, tokens}), tgo({tokens, c.heads, c.d}, go, c.dtype);
  Tensor cu({static_cast<int64_t>(reference.cu.size())}, reference.cu);

  RL_CHECK(rl_attention(o, lse, &x.q, &x.k, &x.v, cu, scale, c.window));
  Doubles want_o, want_lse;
  reference.forward(doubles(q), doubles(k), doubles(v), want_o, want_lse);
  expect_matches(o.get(), floats(want_o), c.dtype, "o");
  expect_matches(lse.get(), floats(want_lse), RL_F32, "lse");

  RL_CHECK(rl_attention_backward(&grad.q, &grad.k, &grad.v, tgo, o, lse, &x.q, &x.k, &x.v, cu, scale, c.window));
  Doubles gq, gk, gv;
  reference.backward(doubles(q), doubles(k), doubles(v), doubles(go), gq, gk, gv);
  expect_matches(grad.get(grad.q), floats(gq), c.dtype, "gradQ", true);
  expect_matches(grad.get(grad.k), floats(gk), c.dtype, "gradK", true);
  expect_matches(grad.get(grad.v), floats(gv), c.dtype, "gradV", true);
}

// Lengths around the blocks of keys and queries; groups that do and do not divide a vector; heads that are padded.
INSTANTIATE_TEST_SUITE_P(
    Shapes, Attention,
    testing::Values(Case{{1}, 1, 1, 1, 0, RL_F32}, Case{{1, 2, 3}, 3, 1, 5, 0, RL_F32},
                    Case{{1, 2, 3}, 3, 1, 5, 2, RL_BF16}, Case{{63, 64, 65}, 2, 2, 16, 0, RL_F32},
                    Case{{63, 0, 64, 65}, 9, 3, 64, 0, RL_F32}, Case{{114, 40, 0}, 9, 3, 64, 0, RL_BF16},
                    Case{{0, 70, 130}, 6, 2, 80, 0, RL_F32}, Case{{130}, 5, 1, 96, 0, RL_BF16},
                    Case{{80, 3}, 8, 8, 128, 0, RL_F32}, Case{{257, 100}, 4, 2, 17, 0, RL_F32},
                    Case{{600, 20}, 2, 1, 20, 0, RL_BF16}, Case{{63, 64, 65}, 2, 1, 16, 1, RL_F32},
                    Case{{150, 10}, 3, 1, 24, 7, RL_F32}, Case{{700}, 9, 3, 8, 65, RL_BF16},
                    Case{{50}, 3, 1, 8, 2147483647, RL_F32}, Case{{1, 15, 16, 17, 1}, 4, 1, 64, 0, RL_BF16},
                    Case{{63, 64, 65, 130}, 2, 1, 128, 0, RL_BF16}, Case{{17, 1, 65}, 8, 1, 80, 16, RL_BF16},
                    Case{{65, 129, 16}, 4, 4, 96, 17, RL_BF16}, Case{{33, 1, 70}, 2, 1, 256, 0, RL_BF16},
                    Case{{33, 2}, 2, 1, 256, 5, RL_F32}, Case{{129, 40}, 2, 1, 128, 64, RL_BF16},
                    Case{{1, 15, 16, 17, 1}, 4, 1, 64, 0, RL_F16}, Case{{63, 0, 64, 65}, 2, 2, 33, 0, RL_F16},
                    Case{{17, 1, 65}, 8, 1, 80, 16, RL_F16}, Case{{65, 129, 16}, 3, 1, 96, 17, RL_F16},
                    Case{{130, 1, 31}, 4, 2, 128, 0, RL_F16}, Case{{1, 2}, 2, 1, 5, 1, RL_F16}));

// The backward's chunks of 256 keys on the CPU, and groups of more heads than it sweeps at once.
std::vector<Case> large_cases() {
  if (emulated()) return {{{300}, 1, 1, 4, 0, RL_F32}, {{20}, 200, 1, 4, 0, RL_F32}, {{20}, 14, 2, 32, 9, RL_F32}};
  return {{{200}, 14, 2, 32, 0, RL_F32}, {{600}, 3, 1, 16, 0, RL_F32},       {{2200}, 1, 1, 4, 0, RL_F32},
          {{700}, 2, 2, 8, 300, RL_F32}, {{700, 300}, 2, 1, 16, 64, RL_F32}, {{90}, 200, 1, 4, 0, RL_F32},
          {{90}, 250, 1, 4, 33, RL_F32}};
}
INSTANTIATE_TEST_SUITE_P(LargeShapes, Attention, testing::ValuesIn(large_cases()));

TEST(AttentionReference, AgreesWithCentralDifferences) {
  const Reference reference({{3, 4}, 4, 2, 3, 0, RL_F32}, 0.6);
  const Doubles q = doubles(random_floats(84, 1)), k = doubles(random_floats(42, 2)), v = doubles(random_floats(42, 3));
  const Doubles go = doubles(random_floats(84, 4));
  auto loss = [&](const Doubles &a, const Doubles &b, const Doubles &c) {
    Doubles o, lse;
    reference.forward(a, b, c, o, lse);
    double sum = 0;
    for (size_t i = 0; i < o.size(); i++) sum += o[i] * go[i];
    return sum;
  };
  Doubles gq, gk, gv;
  reference.backward(q, k, v, go, gq, gk, gv);
  const Floats nq = central_differences(q, [&](const Doubles &x) { return loss(x, k, v); });
  const Floats nk = central_differences(k, [&](const Doubles &x) { return loss(q, x, v); });
  const Floats nv = central_differences(v, [&](const Doubles &x) { return loss(q, k, x); });
  expect_close(floats(gq), nq, 1e-6, 1e-6, "gradQ");
  expect_close(floats(gk), nk, 1e-6, 1e-6, "gradK");
  expect_close(floats(gv), nv, 1e-6, 1e-6, "gradV");
}

// Scores far apart: the running maximum moves by thousands, and nothing overflows.
TEST(AttentionRange, HugeScores) {
  const Case c{{130}, 2, 1, 8, 0, RL_F32};
  const Reference reference(c, 1);
  Floats q = random_floats(130 * 16, 1, RL_F32, 40), k = random_floats(130 * 8, 2, RL_F32, 40),
         v = random_floats(130 * 8, 3);
  Tensor tq({130, 2, 8}, q), tk({130, 1, 8}, k), tv({130, 1, 8}, v), o({130, 2, 8}), lse({2, 130}),
      cu({2}, Ints{0, 130});
  RL_CHECK(rl_attention(o, lse, tq, tk, tv, cu, 1, 0));
  Doubles want_o, want_lse;
  reference.forward(doubles(q), doubles(k), doubles(v), want_o, want_lse);
  // The scores are thousands and carry f32's relative error of 1e-6 or so: that much the weights may be off.
  expect_close(o.get(), floats(want_o), 2e-2, 0, "o");
  expect_close(lse.get(), floats(want_lse), 0, 1e-5, "lse");
}

// A sequence sees nothing of its neighbours, not even infinities.
TEST(AttentionRange, SequencesAreApart) {
  Floats x = random_floats(60 * 8, 1);
  for (size_t i = 20 * 8; i < 40 * 8; i++) x[i] = INFINITY;
  Tensor t({60, 1, 8}, x), o({60, 1, 8}), lse({1, 60}), cu({4}, Ints{0, 20, 40, 60});
  Tensor gq({60, 1, 8}), gk({60, 1, 8}), gv({60, 1, 8});
  RL_CHECK(rl_attention(o, lse, t, t, t, cu, 1, 0));
  RL_CHECK(rl_attention_backward(gq, gk, gv, t, o, lse, t, t, t, cu, 1, 0));
  for (const Tensor *each : {&o, &gq, &gk, &gv}) {
    const Floats got = each->get();
    for (size_t i = 0; i < got.size(); i++) {
      const bool neighbour = i >= 20 * 8 && i < 40 * 8;
      ASSERT_TRUE(neighbour || std::isfinite(got[i])) << i;
    }
  }
}

// The same bits each time: sums have an order of their own, whatever order the device works in.
TEST(AttentionDeterminism, TheSameBitsEachTime) {
  for (int32_t dtype : {RL_F32, RL_BF16, RL_F16}) {
    const int64_t tokens = 170;
    Tensor q({tokens, 4, 32}, random_floats(tokens * 128, 1), dtype),
        k({tokens, 2, 32}, random_floats(tokens * 64, 2), dtype);
    Tensor go({tokens, 4, 32}, random_floats(tokens * 128, 3), dtype), cu({3}, Ints{0, 140, 170});
    std::vector<std::vector<Floats>> runs;
    for (int run = 0; run < 3; run++) {
      Tensor o({tokens, 4, 32}, dtype), lse({4, tokens}), gq({tokens, 4, 32}, dtype);
      Tensor gk({tokens, 2, 32}, dtype), gv({tokens, 2, 32}, dtype);
      RL_CHECK(rl_attention(o, lse, q, k, k, cu, 0.2f, 0));
      RL_CHECK(rl_attention_backward(gq, gk, gv, go, o, lse, q, k, k, cu, 0.2f, 0));
      runs.push_back({o.get(), lse.get(), gq.get(), gk.get(), gv.get()});
    }
    EXPECT_EQ(runs[0], runs[1]);
    EXPECT_EQ(runs[0], runs[2]);
  }
}

// The same bits whatever the number of threads, and each time.
TEST(AttentionDeterminism, ThreadsDoNotShow) {
  const Case c{{700, 90, 33}, 6, 2, 32, 0, RL_F32};
  const int64_t tokens = 823, qn = tokens * 6 * 32, kn = tokens * 2 * 32;
  const Floats data = random_floats(2 * qn + 2 * kn, 1);
  std::vector<Floats> runs;
  for (int threads : {1, 2, 2, 5}) {
    rl_device d = 0;
    RL_CHECK(rl_device_open(&d, "cpu", 0, threads));
    auto make = [&](std::vector<int64_t> shape, int32_t dtype, const void *from) {
      rl_tensor t{};
      t.dtype = dtype;
      t.rank = static_cast<int32_t>(shape.size());
      int64_t n = 1;
      for (int i = t.rank - 1; i >= 0; i--) {
        t.shape[i] = shape[static_cast<size_t>(i)];
        t.stride[i] = n;
        n *= t.shape[i];
      }
      EXPECT_EQ(rl_buffer_alloc(&t.buffer, d, n * 4), RL_OK);
      EXPECT_TRUE(!from || rl_copy_from_host(&t, from, n * 4) == RL_OK);
      return t;
    };
    const Ints cu{0, 700, 790, 823};
    const rl_tensor q = make({tokens, 6, 32}, RL_F32, data.data()),
                    go = make({tokens, 6, 32}, RL_F32, data.data() + qn);
    const rl_tensor k = make({tokens, 2, 32}, RL_F32, data.data() + 2 * qn);
    const rl_tensor v = make({tokens, 2, 32}, RL_F32, data.data() + 2 * qn + kn), tcu = make({4}, RL_I32, cu.data());
    const rl_tensor o = make({tokens, 6, 32}, RL_F32, nullptr), lse = make({6, tokens}, RL_F32, nullptr);
    const rl_tensor gq = make({tokens, 6, 32}, RL_F32, nullptr), gk = make({tokens, 2, 32}, RL_F32, nullptr);
    const rl_tensor gv = make({tokens, 2, 32}, RL_F32, nullptr);
    RL_CHECK(rl_attention(&o, &lse, &q, &k, &v, &tcu, 0.2f, 0));
    RL_CHECK(rl_attention_backward(&gq, &gk, &gv, &go, &o, &lse, &q, &k, &v, &tcu, 0.2f, 0));
    Floats all(static_cast<size_t>(2 * qn + 2 * kn));
    RL_CHECK(rl_copy_to_host(all.data(), &o, qn * 4));
    RL_CHECK(rl_copy_to_host(all.data() + qn, &gq, qn * 4));
    RL_CHECK(rl_copy_to_host(all.data() + 2 * qn, &gk, kn * 4));
    RL_CHECK(rl_copy_to_host(all.data() + 2 * qn + kn, &gv, kn * 4));
    RL_CHECK(rl_device_close(d));
    runs.push_back(all);
  }
  for (const Floats &run : runs) ASSERT_EQ(0, std::memcmp(run.data(), runs[0].data(), run.size() * 4));
}

// Rows that begin anywhere give the bits of rows that are aligned, and nothing beside them is written.
TEST(AttentionRows, AlignmentDoesNotShow) {
  for (int32_t dtype : {RL_F32, RL_BF16, RL_F16}) {
    const int64_t t = 70, heads = 2, d = 64, n = heads * d, wide = n + 11;
    auto inside = [&](const Floats &x) {
      Floats rows(static_cast<size_t>(t * wide), 9.0f);
      for (int64_t i = 0; i < t; i++) std::copy_n(x.begin() + i * n, n, rows.begin() + i * wide + 3);
      return rows;
    };
    std::vector<Floats> in;
    for (uint32_t seed = 1; seed <= 4; seed++) in.push_back(random_floats(t * n, seed, dtype));
    Tensor cu({3}, Ints{0, 67, 70}), lse({heads, t});
    std::deque<Tensor> dense, wider;  // tensors do not move
    for (const Floats &x : in) {
      dense.emplace_back(std::vector<int64_t>{t, heads, d}, x, dtype);
      wider.emplace_back(std::vector<int64_t>{t, wide}, inside(x), dtype);
    }
    for (int i = 0; i < 4; i++) {
      dense.emplace_back(std::vector<int64_t>{t, heads, d}, Floats(static_cast<size_t>(t * n)), dtype);
      wider.emplace_back(std::vector<int64_t>{t, wide}, inside(Floats(static_cast<size_t>(t * n))), dtype);
    }
    auto run = [&](const rl_tensor *x) {  // q, k, v, gradO, o, gradQ, gradK, gradV
      RL_CHECK(rl_attention(&x[4], lse, &x[0], &x[1], &x[2], cu, 0.125f, 0));
      RL_CHECK(rl_attention_backward(&x[5], &x[6], &x[7], &x[3], &x[4], lse, &x[0], &x[1], &x[2], cu, 0.125f, 0));
    };
    std::vector<rl_tensor> a, b;
    for (size_t i = 0; i < dense.size(); i++) {
      a.push_back(dense[i].raw());
      b.push_back(columns(wider[i], 3, {t, heads, d}));
    }
    run(a.data());
    run(b.data());
    for (size_t i = 4; i < dense.size(); i++) EXPECT_EQ(inside(dense[i].get()), wider[i].get()) << i;
  }
}

TEST(AttentionErrors, NamesOpArgumentExpectedAndFound) {
  Tensor q({5, 6, 8}, random_floats(240, 1)), k({5, 2, 8}, random_floats(80, 2)), v({5, 2, 8}, random_floats(80, 3));
  Tensor o({5, 6, 8}), lse({6, 5}), cu({3}, Ints{0, 2, 5});
  RL_CHECK(rl_attention(o, lse, q, k, v, cu, 1, 0));
  auto wrong = [&](const rl_tensor *to, const rl_tensor *tl, const rl_tensor *tq, const rl_tensor *tk,
                   const rl_tensor *tv, const rl_tensor *tcu, int32_t window, const std::vector<std::string> &parts) {
    expect_error(rl_attention(to, tl, tq, tk, tv, tcu, 1, window), RL_INVALID_ARGUMENT, parts);
  };
  wrong(nullptr, lse, q, k, v, cu, 0, {"attention: o: expected a tensor, found null"});
  wrong(o, nullptr, q, k, v, cu, 0, {"lse", "null"});
  wrong(o, lse, q, k, v, nullptr, 0, {"cu_seqlens", "null"});
  Tensor k4({5, 4, 8}), k7({5, 2, 7}), k3({3, 2, 8}), kb({5, 2, 8}, RL_BF16), q2({5, 48}), lse2({5, 6});
  wrong(o, lse, q, k4, k4, cu, 0, {"q: expected a multiple of the 4 key heads, found 6"});
  wrong(o, lse, q, k7, v, cu, 0, {"k: expected shape [5,*,8], found [5,2,7]"});
  wrong(o, lse, q, k3, v, cu, 0, {"k: expected shape [5,*,8], found [3,2,8]"});
  wrong(o, lse, q, k, k4, cu, 0, {"v: expected shape [5,2,8], found [5,4,8]"});
  wrong(o, lse, q, kb, v, cu, 0, {"k: expected dtype f32, found bf16"});
  Tensor qi({5, 6, 8}, RL_I32), qh({5, 6, 8}, RL_F16);
  wrong(o, lse, qi, k, v, cu, 0, {"q: expected f32, bf16 or f16, found i32"});
  wrong(o, lse, qh, kb, kb, cu, 0, {"k: expected dtype f16, found bf16"});
  wrong(o, lse, q2, k, v, cu, 0, {"q: expected rank 3, found shape [5,48]"});
  wrong(o, lse2, q, k, v, cu, 0, {"lse: expected shape [6,5], found [5,6]"});
  wrong(o, lse, q, k, v, cu, -1, {"window: expected 0 or more, found -1"});
  wrong(q, lse, q, k, v, cu, 0, {"o: expected memory of its own, found that it overlaps q"});
  Tensor cu1({1}, Ints{0}), cu_start({2}, Ints{1, 5}), cu_end({2}, Ints{0, 4}), cu_past({2}, Ints{0, 6}),
      cu_falls({3}, Ints{0, 7, 5});
  wrong(o, lse, q, k, v, cu1, 0, {"cu_seqlens: expected at least 2"});
  wrong(o, lse, q, k, v, cu_start, 0, {"cu_seqlens[0] is 1, expected 0"});
  wrong(o, lse, q, k, v, cu_end, 0, {"cu_seqlens[1] is 4", "5"});
  wrong(o, lse, q, k, v, cu_past, 0, {"cu_seqlens[1] is 6", "5"});
  wrong(o, lse, q, k, v, cu_falls, 0, {"cu_seqlens[2] is 5, expected at least the 7 before it"});
  Tensor gq({5, 6, 8}), gk({5, 2, 8}), gv({5, 2, 8}), go({5, 6, 8});
  expect_error(rl_attention_backward(gq, gk, gk, go, o, lse, q, k, v, cu, 1, 0), RL_INVALID_ARGUMENT,
               {"attention_backward", "gradK: expected memory of its own, found that it overlaps gradV"});
  expect_error(rl_attention_backward(gq, gk, gv, go, o, lse, q, k, v, cu_falls, 1, 0), RL_INVALID_ARGUMENT,
               {"cu_seqlens[2]"});
  expect_error(rl_attention_backward(gk, gk, gv, go, o, lse, q, k, v, cu, 1, 0), RL_INVALID_ARGUMENT,
               {"gradQ: expected shape [5,6,8]"});
}

}  // namespace
}  // namespace rl::test
