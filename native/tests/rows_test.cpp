// The small ops on rows: add, embedding, gather_rows, rope, swiglu, kv_append.
#include "support.h"

namespace rl::test {
namespace {

size_t at(int64_t i) { return static_cast<size_t>(i); }

/// Columns [from, from + n) of a matrix.
rl_tensor columns(Tensor &t, int64_t from, int64_t n) {
  rl_tensor part = t.raw();
  part.shape[1] = n;
  part.offset = from * (part.dtype == RL_BF16 ? 2 : 4);
  return part;
}

TEST(Add, MatchesForEveryMixOfDtypes) {
  for (int64_t n : {1, 15, 64, 5000}) {
    for (int32_t da : {RL_F32, RL_BF16}) {
      for (int32_t db : {RL_F32, RL_BF16}) {
        for (int32_t dy : {RL_F32, RL_BF16}) {
          const Floats a = random_floats(3 * n, 1, da), b = random_floats(3 * n, 2, db);
          Tensor ta({3, n}, a, da), tb({3, n}, b, db), y({3, n}, dy);
          RL_CHECK(rl_add(y, ta, tb));
          Floats want(a.size());
          for (size_t i = 0; i < a.size(); i++) want[i] = dy == RL_BF16 ? bf16_to_f32(f32_to_bf16(a[i] + b[i])) : a[i] + b[i];
          ASSERT_EQ(y.get(), want);
        }
      }
    }
  }
}

TEST(Add, MayAliasAndStride) {
  const Floats a = random_floats(40, 1), b = random_floats(40, 2);
  Floats sum(40);
  for (size_t i = 0; i < 40; i++) sum[i] = a[i] + b[i];
  Tensor ta({4, 10}, a), tb({4, 10}, b);
  RL_CHECK(rl_add(ta, ta, tb));
  EXPECT_EQ(ta.get(), sum);
  ta.set(a);
  RL_CHECK(rl_add(tb, ta, tb));
  EXPECT_EQ(tb.get(), sum);
  rl_tensor left = columns(ta, 0, 5), right = columns(ta, 5, 5);
  RL_CHECK(rl_add(&left, &left, &right));
  const Floats got = ta.get();
  for (size_t i = 0; i < 40; i++) EXPECT_EQ(got[i], i % 10 < 5 ? a[i] + a[i + 5] : a[i]);
  rl_tensor shifted = columns(ta, 1, 5);
  expect_error(rl_add(&left, &shifted, &right), RL_INVALID_ARGUMENT, {"add: y", "overlaps a"});
  Tensor y({4, 9}), ids({4, 10}, RL_I32);
  expect_error(rl_add(y, ta, tb), RL_INVALID_ARGUMENT, {"y: expected shape [4,10], found [4,9]"});
  expect_error(rl_add(ids, ta, tb), RL_INVALID_ARGUMENT, {"y: expected f32 or bf16, found i32"});
}

TEST(Embedding, PicksRowsAndSumsGradients) {
  for (int32_t dtype : {RL_F32, RL_BF16}) {
    const int64_t v = 11, h = 70, t = 9;
    const Ints ids{3, 0, 10, 3, 3, 7, 0, 1, 3};
    const Floats w = random_floats(v * h, 1, dtype), g = random_floats(t * h, 2, dtype);
    Tensor tw({v, h}, w, dtype), tids({t}, ids), y({t, h}, dtype), tg({t, h}, g, dtype);
    RL_CHECK(rl_embedding(y, tw, tids));
    const Floats got = y.get();
    for (int64_t i = 0; i < t * h; i++) ASSERT_EQ(got[at(i)], w[at(ids[at(i / h)] * h + i % h)]);
    Tensor gw({v, h}, Floats(at(v * h), 0.5f));
    RL_CHECK(rl_embedding_backward(gw, tg, tids));
    Floats want(at(v * h), 0.5f);
    for (int64_t i = 0; i < t * h; i++) want[at(ids[at(i / h)] * h + i % h)] += g[at(i)];
    EXPECT_EQ(gw.get(), want);
  }
}

TEST(Embedding, RefusesIdsBeyondTheVocabulary) {
  Tensor w({11, 4}), y({2, 4}), gw({11, 4}, Floats(44, 1)), gy({2, 4});
  for (const auto &[bad, text] : {std::pair{Ints{1, 11}, "ids[1] is 11, expected 0 to 10"}, {Ints{-1, 0}, "ids[0] is -1"}}) {
    Tensor ids({2}, bad);
    expect_error(rl_embedding(y, w, ids), RL_INVALID_ARGUMENT, {"embedding: ", text});
    expect_error(rl_embedding_backward(gw, gy, ids), RL_INVALID_ARGUMENT, {"embedding_backward: ", text});
  }
  EXPECT_EQ(gw.get(), Floats(44, 1));  // nothing was added for the good id before the bad one
  Tensor ids({2}, Ints{1, 2}), y3({3, 4});
  expect_error(rl_embedding(y3, w, ids), RL_INVALID_ARGUMENT, {"y: expected shape [2,4], found [3,4]"});
  expect_error(rl_embedding(y, w, w), RL_INVALID_ARGUMENT, {"ids: expected dtype i32, found f32"});
}

TEST(GatherRows, PicksRowsAndSumsGradients) {
  for (int32_t dtype : {RL_F32, RL_BF16}) {
    for (int64_t n : {1, 33, 64}) {
      const Ints index{4, 4, 0, 2, 4, 4, 4};
      const Floats x = random_floats(6 * n, 1, dtype), g = random_floats(7 * n, 2, dtype);
      Tensor tx({6, n}, x, dtype), ti({7}, index), y({7, n}, dtype), tg({7, n}, g, dtype);
      RL_CHECK(rl_gather_rows(y, tx, ti));
      const Floats got = y.get();
      for (int64_t i = 0; i < 7 * n; i++) ASSERT_EQ(got[at(i)], x[at(index[at(i / n)] * n + i % n)]);
      Tensor gx({6, n}, Floats(at(6 * n), 3), dtype);  // overwritten
      RL_CHECK(rl_gather_rows_backward(gx, tg, ti));
      Floats want(at(6 * n), 0);
      for (int64_t i = 0; i < 7 * n; i++) want[at(index[at(i / n)] * n + i % n)] += g[at(i)];
      // Summed in f32 and rounded once, bf16 too.
      for (float &v : want) v = dtype == RL_BF16 ? bf16_to_f32(f32_to_bf16(v)) : v;
      EXPECT_EQ(gx.get(), want);
    }
  }
}

TEST(GatherRows, StridedAndErrors) {
  const Floats x = random_floats(50, 1);
  Tensor tx({5, 10}, x), ti({2}, Ints{4, 1}), y({2, 3}), bad({2}, Ints{0, 5}), gx({5, 3});
  rl_tensor part = columns(tx, 6, 3);
  RL_CHECK(rl_gather_rows(y, &part, ti));
  EXPECT_EQ(y.get(), (Floats{x[46], x[47], x[48], x[16], x[17], x[18]}));
  expect_error(rl_gather_rows(y, &part, bad), RL_INVALID_ARGUMENT, {"gather_rows: index[1] is 5, expected 0 to 4"});
  expect_error(rl_gather_rows_backward(gx, y, bad), RL_INVALID_ARGUMENT, {"gather_rows_backward: index[1] is 5"});
  Tensor yb({2, 3}, RL_BF16);
  expect_error(rl_gather_rows(yb, &part, ti), RL_INVALID_ARGUMENT, {"y: expected dtype f32, found bf16"});
}

TEST(Rope, RotatesAndRotatesBack) {
  for (int32_t dtype : {RL_F32, RL_BF16}) {
    for (int64_t d : {2, 10, 64}) {
      const int64_t t = 7, heads = 3, half = d / 2;
      const Ints positions{0, 1, 2, 5, 1000, 130001, 3};
      Floats freq;
      for (int part = 0; part < 2; part++) {
        for (int64_t i = 0; i < half; i++) {
          const double f = std::pow(10000.0, -2.0 * static_cast<double>(i) / static_cast<double>(d));
          freq.push_back(part ? static_cast<float>(f - static_cast<double>(static_cast<float>(f))) : static_cast<float>(f));
        }
      }
      const Floats x = random_floats(t * heads * d, 1, dtype);
      Tensor tx({t, heads, d}, x, dtype), tp({t}, positions), tf({2, half}, freq), table({t, d}), y({t, heads, d}, dtype);
      RL_CHECK(rl_rope_table(table, tp, tf));
      RL_CHECK(rl_rope(y, tx, table, 0));
      Floats want(x.size());
      for (int64_t r = 0; r < t * heads; r++) {
        for (int64_t i = 0; i < half; i++) {
          const double f = static_cast<double>(freq[at(i)]) + static_cast<double>(freq[at(half + i)]);
          const double angle = positions[at(r / heads)] * f, c = std::cos(angle), s = std::sin(angle);
          const double a = static_cast<double>(x[at(r * d + i)]), b = static_cast<double>(x[at(r * d + half + i)]);
          want[at(r * d + i)] = static_cast<float>(a * c - b * s);
          want[at(r * d + half + i)] = static_cast<float>(b * c + a * s);
        }
      }
      expect_matches(y.get(), want, dtype, "y");
      RL_CHECK(rl_rope(y, y, table, 1));  // in place
      expect_matches(y.get(), x, dtype, "x again");
    }
  }
}

TEST(RopeErrors, NamesOpArgumentExpectedAndFound) {
  Tensor x({3, 2, 4}), odd({3, 2, 5}), y({3, 2, 4}), table({3, 4}), narrow({3, 2}), freq({2, 2}), p({3}, Ints{0, -1, 2});
  expect_error(rl_rope_table(table, p, freq), RL_INVALID_ARGUMENT, {"rope_table: positions[1] is -1"});
  expect_error(rl_rope(odd, odd, table, 0), RL_INVALID_ARGUMENT, {"rope: x: expected an even head size, found 5"});
  expect_error(rl_rope(y, x, narrow, 0), RL_INVALID_ARGUMENT, {"table: expected shape [3,4], found [3,2]"});
  expect_error(rl_rope(y, nullptr, table, 0), RL_INVALID_ARGUMENT, {"x: expected a tensor, found null"});
}

class Swiglu : public testing::TestWithParam<std::tuple<int64_t, int32_t, bool>> {};

TEST_P(Swiglu, MatchesReferenceAndCentralDifferences) {
  const auto [n, dtype, fused] = GetParam();
  const int64_t rows = 3;
  Floats both = random_floats(rows * 2 * n, 1, dtype, 3);
  both[0] = 100;  // where sigmoid is 1 and 0
  both[at(n - 1)] = -100;
  const Floats g = random_floats(rows * n, 2, dtype);
  Tensor x({rows, 2 * n}, both, dtype), grads({rows, 2 * n}, dtype), y({rows, n}, dtype), tg({rows, n}, g, dtype);
  Tensor dense_gate({rows, n}, dtype), dense_up({rows, n}, dtype);
  rl_tensor gate = columns(x, 0, n), up = columns(x, n, n), grad_gate = columns(grads, 0, n), grad_up = columns(grads, n, n);
  if (!fused) {
    RL_CHECK(rl_copy(dense_gate, &gate));
    RL_CHECK(rl_copy(dense_up, &up));
    gate = dense_gate.raw();
    up = dense_up.raw();
  }
  auto loss = [&](const std::vector<double> &v) {
    double sum = 0;
    for (int64_t i = 0; i < rows * n; i++) {
      const double a = v[at(i / n * 2 * n + i % n)], b = v[at(i / n * 2 * n + n + i % n)];
      sum += a / (1 + std::exp(-a)) * b * static_cast<double>(g[at(i)]);
    }
    return sum;
  };
  RL_CHECK(rl_swiglu(y, &gate, &up));
  Floats want(at(rows * n));
  for (int64_t i = 0; i < rows * n; i++) {
    const double a = static_cast<double>(both[at(i / n * 2 * n + i % n)]), b = static_cast<double>(both[at(i / n * 2 * n + n + i % n)]);
    want[at(i)] = static_cast<float>(a / (1 + std::exp(-a)) * b);
  }
  expect_matches(y.get(), want, dtype, "y");
  RL_CHECK(rl_swiglu_backward(&grad_gate, &grad_up, tg, &gate, &up));
  expect_matches(grads.get(), central_differences(doubles(both), loss), dtype, "gradients", true);
}

INSTANTIATE_TEST_SUITE_P(Shapes, Swiglu,
                         testing::Combine(testing::Values(1, 15, 16, 50), testing::Values(RL_F32, RL_BF16), testing::Bool()));

TEST(SwigluErrors, NamesOpArgumentExpectedAndFound) {
  Tensor gate({2, 6}), up({2, 6}), y({2, 6}), short_up({2, 5}), up16({2, 6}, RL_BF16);
  expect_error(rl_swiglu(y, gate, short_up), RL_INVALID_ARGUMENT, {"swiglu: up: expected shape [2,6], found [2,5]"});
  expect_error(rl_swiglu(y, gate, up16), RL_INVALID_ARGUMENT, {"up: expected dtype f32, found bf16"});
  expect_error(rl_swiglu(gate, gate, up), RL_INVALID_ARGUMENT, {"y: expected memory of its own", "gate"});
  expect_error(rl_swiglu_backward(y, y, gate, gate, up), RL_INVALID_ARGUMENT, {"gradGate", "overlaps gradUp"});
}

TEST(KvAppend, WritesItsCellsAndNoOthers) {
  for (int32_t dtype : {RL_F32, RL_BF16}) {
    const int64_t slots = 3, length = 5, heads = 2, d = 4, n = heads * d, t = 4;
    const Floats kv = random_floats(t * 2 * n, 1, dtype);
    Tensor x({t, 2 * n}, kv, dtype), s({t}, Ints{2, 0, 2, 1}), p({t}, Ints{4, 0, 3, 2});
    Tensor ck({slots, length, heads, d}, Floats(at(slots * length * n), 1), dtype);
    Tensor cv({slots, length, heads, d}, Floats(at(slots * length * n), 2), dtype);
    auto part = [&](int64_t from) {
      rl_tensor r = columns(x, from, heads);
      r.rank = 3;
      r.shape[2] = d;
      r.stride[1] = d;
      r.stride[2] = 1;
      return r;
    };
    const rl_tensor k = part(0), v = part(n);
    RL_CHECK(rl_kv_append(ck, cv, &k, &v, s, p));
    Floats want_k(at(slots * length * n), 1), want_v(at(slots * length * n), 2);
    const Ints slot{2, 0, 2, 1}, position{4, 0, 3, 2};
    for (int64_t i = 0; i < t; i++) {
      for (int64_t c = 0; c < n; c++) {
        const size_t cell = at((slot[at(i)] * length + position[at(i)]) * n + c);
        want_k[cell] = kv[at(i * 2 * n + c)];
        want_v[cell] = kv[at(i * 2 * n + n + c)];
      }
    }
    EXPECT_EQ(ck.get(), want_k);
    EXPECT_EQ(cv.get(), want_v);
    Tensor far({t}, Ints{0, 1, 2, 5}), nowhere({t}, Ints{0, 3, 0, 0});
    expect_error(rl_kv_append(ck, cv, &k, &v, s, far), RL_INVALID_ARGUMENT, {"kv_append: positions[3] is 5, expected 0 to 4"});
    expect_error(rl_kv_append(ck, cv, &k, &v, nowhere, p), RL_INVALID_ARGUMENT, {"kv_append: slots[1] is 3, expected 0 to 2"});
    expect_error(rl_kv_append(ck, ck, &k, &v, s, p), RL_INVALID_ARGUMENT, {"cacheK", "overlaps cacheV"});
    EXPECT_EQ(ck.get(), want_k);
  }
}

}  // namespace
}  // namespace rl::test
