#include "support.h"

namespace rl::test {
namespace {

/// c[m,n] = sum_k a(m,k) b(k,n) in double.
template <class A, class B>
Floats product(int64_t m, int64_t n, int64_t k, A a, B b) {
  Floats c(static_cast<size_t>(m * n));
  for (int64_t i = 0; i < m; i++) {
    for (int64_t j = 0; j < n; j++) {
      double sum = 0;
      for (int64_t l = 0; l < k; l++) sum += static_cast<double>(a(i, l)) * static_cast<double>(b(l, j));
      c[static_cast<size_t>(i * n + j)] = static_cast<float>(sum);
    }
  }
  return c;
}

struct Matrix {
  const Floats &values;
  int64_t cols;
  float operator()(int64_t i, int64_t j) const { return values[static_cast<size_t>(i * cols + j)]; }
};

/// Whether a GPU is to round the factors of f32 products to ten bits of fraction. A factor is then wrong by up to 2^-11 of
/// itself, by 2.4e-4 in the mean square; a sum of k products of standard normals by 3.5e-4 sqrt(k), and the worst of some ten
/// thousand sums by four to five times that.
bool tf32() {
  const char *set = std::getenv("RLHF4J_CUDA_TF32");
  return set && std::string(set) == "1" && std::string(backend()) != "cpu";
}

/// f32 sums of k products of standard normals: their rounding errors grow with sqrt(k), the sums themselves as well.
void expect_product(const Floats &got, const Floats &want, int64_t k, int32_t dtype, const std::string &what) {
  if (dtype == RL_BF16) return expect_matches(got, want, dtype, what);
  expect_close(got, want, (tf32() ? 2e-3 : 1e-5) * std::sqrt(static_cast<double>(k)), tf32() ? 1e-3 : 1e-4, what);
}

using Case = std::tuple<std::tuple<int64_t, int64_t, int64_t>, int32_t, int32_t, bool>;

class Linear : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    const auto [shape, d, o, p] = GetParam();
    std::tie(t, n, k) = shape;
    dtype = d;
    out = o;
    packed = p;
  }
  int64_t t, n, k;
  int32_t dtype, out;
  bool packed;
};

TEST_P(Linear, MatchesReference) {
  const Floats x = random_floats(t * k, 1, dtype), w = random_floats(n * k, 2, dtype), bias = random_floats(n, 3);
  const Floats start = random_floats(t * n, 4, out);
  Tensor tx({t, k}, x, dtype), tw({n, k}, w, dtype), tb({n}, bias), ty({t, n}, start, out);
  WeightHandle handle(tw, packed);
  const Floats xw =
      product(t, n, k, Matrix{x, k}, [&](int64_t l, int64_t j) { return w[static_cast<size_t>(j * k + l)]; });

  for (bool with_bias : {false, true}) {
    for (bool accumulate : {false, true}) {
      ty.set(start);
      RL_CHECK(rl_linear(ty, tx, handle, with_bias ? static_cast<const rl_tensor *>(tb) : nullptr, accumulate));
      Floats want = xw;
      for (size_t i = 0; i < want.size(); i++) {
        if (with_bias) want[i] += bias[i % static_cast<size_t>(n)];
        if (accumulate) want[i] += start[i];
      }
      expect_product(ty.get(), want, k, out == RL_BF16 ? out : dtype == RL_BF16 ? RL_F32 : dtype, "y");
    }
  }
}

TEST_P(Linear, BackwardMatchesReference) {
  const Floats x = random_floats(t * k, 1, dtype), w = random_floats(n * k, 2, dtype),
               g = random_floats(t * n, 5, dtype);
  const Floats start = random_floats(t * k, 6, out);
  Tensor tx({t, k}, x, dtype), tw({n, k}, w, dtype), tg({t, n}, g, dtype), tgx({t, k}, start, out);
  WeightHandle handle(tw, packed, t % 2 == 0);
  const Floats gw = product(t, k, n, Matrix{g, n}, Matrix{w, k});
  for (bool accumulate : {false, true}) {
    tgx.set(start);
    RL_CHECK(rl_linear_backward_input(tgx, tg, handle, accumulate));
    Floats want = gw;
    if (accumulate) {
      for (size_t i = 0; i < want.size(); i++) want[i] += start[i];
    }
    expect_product(tgx.get(), want, n, out, "gradX");
  }

  Tensor tgw({n, k}, Floats(static_cast<size_t>(n * k), 1.0f)), tgb({n}, Floats(static_cast<size_t>(n), 2.0f));
  RL_CHECK(rl_linear_backward_weight(tgw, tgb, tg, tx));
  Floats want = product(n, k, t, [&](int64_t j, int64_t l) { return g[static_cast<size_t>(l * n + j)]; }, Matrix{x, k});
  for (float &v : want) v += 1;
  expect_product(tgw.get(), want, t, RL_F32, "gradW");
  Floats sums(static_cast<size_t>(n), 2.0f);
  for (int64_t j = 0; j < n; j++) {
    double sum = 2;
    for (int64_t i = 0; i < t; i++) sum += static_cast<double>(g[static_cast<size_t>(i * n + j)]);
    sums[static_cast<size_t>(j)] = static_cast<float>(sum);
  }
  expect_product(tgb.get(), sums, t, RL_F32, "gradBias");
  RL_CHECK(rl_linear_backward_weight(tgw, nullptr, tg, tx));
}

// 1 to 6 rows: every tile height; 16 and 17: where oneDNN takes over, and where the GPU's kernel for few rows ends; 37 and 300: row
// blocks with a rest.
INSTANTIATE_TEST_SUITE_P(
    Shapes, Linear,
    testing::Combine(testing::Values(std::tuple(1, 1, 1), std::tuple(2, 64, 32), std::tuple(3, 65, 33),
                                     std::tuple(4, 7, 130), std::tuple(5, 130, 31), std::tuple(6, 96, 47),
                                     std::tuple(7, 200, 64), std::tuple(16, 63, 48), std::tuple(17, 129, 66),
                                     std::tuple(1, 17, 1032), std::tuple(8, 33, 520), std::tuple(9, 40, 136),
                                     std::tuple(37, 100, 97), std::tuple(300, 70, 65)),
                     testing::Values(RL_F32, RL_BF16), testing::Values(RL_F32, RL_BF16), testing::Bool()));

TEST(LinearRows, MayBeStrided) {
  for (int32_t dtype : {RL_F32, RL_BF16}) {
    for (int64_t t : {3, 40}) {
      const int64_t n = 70, k = 50, wide_k = 64, wide_n = 99;
      const Floats x = random_floats(t * wide_k, 1, dtype), w = random_floats(n * k, 2, dtype),
                   y = random_floats(t * wide_n, 3, dtype);
      Tensor tx({t, wide_k}, x, dtype), tw({n, k}, w, dtype), ty({t, wide_n}, y, dtype), tgx({t, wide_k}, x, dtype);
      WeightHandle handle(tw, true);
      const int64_t size = dtype == RL_BF16 ? 2 : 4, skip_x = 9, skip_y = 5;
      auto part = [&](Tensor &tensor, int64_t cols, int64_t skip) {
        rl_tensor view = tensor.raw();
        view.offset = skip * size;
        view.shape[1] = cols;
        return view;
      };
      const rl_tensor px = part(tx, k, skip_x), py = part(ty, n, skip_y), pgx = part(tgx, k, skip_x);
      RL_CHECK(rl_linear(&py, &px, handle, nullptr, 1));
      const Floats xw = product(
          t, n, k, [&](int64_t i, int64_t l) { return x[static_cast<size_t>(i * wide_k + skip_x + l)]; },
          [&](int64_t l, int64_t j) { return w[static_cast<size_t>(j * k + l)]; });
      Floats want = y;
      for (int64_t i = 0; i < t * n; i++)
        want[static_cast<size_t>(i / n * wide_n + skip_y + i % n)] += xw[static_cast<size_t>(i)];
      const Floats got = ty.get();
      expect_product(got, want, k, dtype, "y");

      RL_CHECK(rl_linear_backward_input(&pgx, &py, handle, 0));
      const Floats gw = product(
          t, k, n, [&](int64_t i, int64_t l) { return got[static_cast<size_t>(i * wide_n + skip_y + l)]; },
          Matrix{w, k});
      Floats want_x = x;
      for (int64_t i = 0; i < t * k; i++)
        want_x[static_cast<size_t>(i / k * wide_k + skip_x + i % k)] = gw[static_cast<size_t>(i)];
      // What is multiplied is a product itself, of some seven times the size.
      expect_close(tgx.get(), want_x, dtype == RL_BF16 ? 5 : tf32() ? 0.15 : 1e-3, 1e-4, "gradX");

      Tensor tgw({n, k}, Floats(static_cast<size_t>(n * k), 0.0f));
      RL_CHECK(rl_linear_backward_weight(tgw, nullptr, &py, &px));
      const Floats want_w = product(
          n, k, t, [&](int64_t j, int64_t l) { return got[static_cast<size_t>(l * wide_n + skip_y + j)]; },
          [&](int64_t l, int64_t i) { return x[static_cast<size_t>(l * wide_k + skip_x + i)]; });
      expect_close(tgw.get(), want_w, tf32() ? 0.15 : 1e-3, 1e-4, "gradW");
    }
  }
}

// The backward's copy of a tall matrix is made of pieces.
TEST(LinearTall, BackwardInputAddsThePieces) {
  const int64_t n = 4096 * 2 + 100, k = 20;
  for (int64_t t : {2, 33}) {
    for (int32_t dtype : {RL_F32, RL_BF16}) {
      const Floats w = random_floats(n * k, 1, dtype), g = random_floats(t * n, 2, dtype),
                   start = random_floats(t * k, 3, dtype);
      Tensor tw({n, k}, w, dtype), tg({t, n}, g, dtype), tgx({t, k}, start, dtype);
      WeightHandle handle(tw, true);
      Floats want = product(t, k, n, Matrix{g, n}, Matrix{w, k});
      RL_CHECK(rl_linear_backward_input(tgx, tg, handle, 0));
      expect_product(tgx.get(), want, n, dtype, "gradX");
      tgx.set(start);
      RL_CHECK(rl_linear_backward_input(tgx, tg, handle, 1));
      for (size_t i = 0; i < want.size(); i++) want[i] += start[i];
      expect_product(tgx.get(), want, n, dtype, "gradX +=");
    }
  }
}

/// The three products of x [t,k] and w [n,k].
void expect_products(int64_t t, int64_t n, int64_t k, int32_t dtype) {
  const Floats x = random_floats(t * k, 1, dtype), w = random_floats(n * k, 2, dtype),
               g = random_floats(t * n, 3, dtype);
  Tensor tx({t, k}, x, dtype), tw({n, k}, w, dtype), tg({t, n}, g, dtype), ty({t, n}, dtype), tgx({t, k}),
      tgw({n, k}, Floats(w.size(), 0.0f));
  WeightHandle handle(tw, true);
  RL_CHECK(rl_linear(ty, tx, handle, nullptr, 0));
  expect_product(
      ty.get(), product(t, n, k, Matrix{x, k}, [&](int64_t l, int64_t j) { return w[static_cast<size_t>(j * k + l)]; }),
      k, dtype, "y");
  RL_CHECK(rl_linear_backward_input(tgx, tg, handle, 0));
  expect_product(tgx.get(), product(t, k, n, Matrix{g, n}, Matrix{w, k}), n, RL_F32, "gradX");
  RL_CHECK(rl_linear_backward_weight(tgw, nullptr, tg, tx));
  expect_product(tgw.get(),
                 product(
                     n, k, t, [&](int64_t j, int64_t l) { return g[static_cast<size_t>(l * n + j)]; }, Matrix{x, k}),
                 t, RL_F32, "gradW");
}

// On a GPU: large tiles, with and without rests, for each of the three products. f32 has them by tensor cores only.
TEST(LinearLarge, MatchesReference) {
  for (const auto &[t, n, k] : {std::tuple(1030, 1410, 72), std::tuple(1030, 70, 1410), std::tuple(35, 1030, 1410)}) {
    expect_products(t, n, k, tf32() ? RL_F32 : RL_BF16);
  }
}

// A long contraction with a small result: a GPU cuts it into parts. Bits are the same each time.
TEST(LinearLong, AddsThePartsInTheirOrder) {
  const int64_t k = 1500, n = 70;
  for (int64_t t : {5, 40}) {
    for (int32_t dtype : {RL_F32, RL_BF16}) {
      const Floats x = random_floats(t * k, 1, dtype), w = random_floats(n * k, 2, dtype), bias = random_floats(n, 3),
                   start = random_floats(t * n, 4, dtype);
      Tensor tx({t, k}, x, dtype), tw({n, k}, w, dtype), tb({n}, bias), ty({t, n}, start, dtype);
      WeightHandle handle(tw, true);
      RL_CHECK(rl_linear(ty, tx, handle, tb, 1));
      Floats want =
          product(t, n, k, Matrix{x, k}, [&](int64_t l, int64_t j) { return w[static_cast<size_t>(j * k + l)]; });
      for (size_t i = 0; i < want.size(); i++) want[i] += bias[i % static_cast<size_t>(n)] + start[i];
      const Floats first = ty.get();
      expect_product(first, want, k, dtype, "y");
      ty.set(start);
      RL_CHECK(rl_linear(ty, tx, handle, tb, 1));
      EXPECT_EQ(ty.get(), first);
    }
  }
  const int64_t rows = 1500, out = 20, in = 33;
  const Floats x = random_floats(rows * in, 1, RL_BF16), g = random_floats(rows * out, 2, RL_BF16);
  Tensor tx({rows, in}, x, RL_BF16), tg({rows, out}, g, RL_BF16), tgw({out, in}, Floats(20 * 33, 1.0f));
  RL_CHECK(rl_linear_backward_weight(tgw, nullptr, tg, tx));
  Floats want =
      product(out, in, rows, [&](int64_t j, int64_t l) { return g[static_cast<size_t>(l * out + j)]; }, Matrix{x, in});
  for (float &v : want) v += 1;
  expect_product(tgw.get(), want, rows, RL_F32, "gradW");
}

// f32 factors keep all their bits, unless TF32 is asked for.
TEST(LinearTf32, RoundsFactorsIfAskedTo) {
  const float x = 1 + 0x1p-12f, rounded = tf32() ? 1 : x;
  for (int64_t k : {1, 24}) {
    Tensor tx({5, k}, Floats(static_cast<size_t>(5 * k), x)), tw({3, k}, Floats(static_cast<size_t>(3 * k), 1.0f)),
        ty({5, 3}), tg({5, 3}, Floats(15, 1.0f)), tgw({3, k}, Floats(static_cast<size_t>(3 * k), 0.0f));
    WeightHandle w(tw, true), xs(tx, true);
    RL_CHECK(rl_linear(ty, tx, w, nullptr, 0));
    EXPECT_EQ(ty.get(), Floats(15, static_cast<float>(k) * rounded));
    RL_CHECK(rl_linear_backward_weight(tgw, nullptr, tg, tx));
    EXPECT_EQ(tgw.get(), Floats(static_cast<size_t>(3 * k), 5 * rounded));
    Tensor five({2, 5}, Floats(10, 1.0f)), two({2, k});
    RL_CHECK(rl_linear_backward_input(two, five, xs, 0));
    EXPECT_EQ(two.get(), Floats(static_cast<size_t>(2 * k), 5 * rounded));
  }
}

TEST(LinearWeights, PackCopiesAndViewRefers) {
  const Floats one(6 * 4, 1.0f), two(6 * 4, 2.0f);
  Tensor w({6, 4}, one), x({3, 4}, Floats(12, 1.0f)), y({3, 6});
  WeightHandle packed(w, true), viewed(w, false);
  w.set(two);
  RL_CHECK(rl_linear(y, x, packed, nullptr, 0));
  EXPECT_EQ(y.get()[0], 4.0f);
  RL_CHECK(rl_linear(y, x, viewed, nullptr, 0));
  EXPECT_EQ(y.get()[0], 8.0f);
}

TEST(LinearWeights, GiveTheirMemoryBack) {
  int64_t before, after, peak, reserved;
  Tensor any({1}, Floats{1.0f});  // the call gives back the scratch memory of the op before
  RL_CHECK(rl_device_memory(&before, &peak, &reserved, device()));
  {
    Tensor w({100, 50}, random_floats(5000, 1, RL_BF16), RL_BF16), g({1, 100}, random_floats(100, 2, RL_BF16), RL_BF16),
        gx({1, 50});
    WeightHandle packed(w, true, true), lazily(w, true);
    RL_CHECK(rl_linear_backward_input(gx, g, lazily, 0));
  }
  any.set({2.0f});
  RL_CHECK(rl_device_memory(&after, &peak, &reserved, device()));
  EXPECT_EQ(after, before);
}

TEST(LinearErrors, NamesOpArgumentExpectedAndFound) {
  Tensor w({6, 4}, RL_BF16), x({3, 4}, RL_BF16), y({3, 6}, RL_BF16), xf({3, 4}), wide({3, 5}, RL_BF16), gw({6, 4}),
      bias({5});
  WeightHandle handle(w, true);
  expect_error(rl_linear(y, xf, handle, nullptr, 0), RL_INVALID_ARGUMENT,
               {"linear", "x: expected weight's dtype bf16", "found f32"});
  expect_error(rl_linear(y, wide, handle, nullptr, 0), RL_INVALID_ARGUMENT, {"x: expected shape [*,4]", "found [3,5]"});
  expect_error(rl_linear(x, x, handle, nullptr, 0), RL_INVALID_ARGUMENT, {"y: expected shape [3,6]", "found [3,4]"});
  expect_error(rl_linear(y, x, handle, bias, 0), RL_INVALID_ARGUMENT, {"bias: expected shape [6]", "found [5]"});
  expect_error(rl_linear(y, nullptr, handle, nullptr, 0), RL_INVALID_ARGUMENT, {"x", "null"});
  expect_error(rl_linear(y, x, 12345, nullptr, 0), RL_INVALID_HANDLE,
               {"linear", "weight", "closed or was never opened"});
  expect_error(rl_linear_backward_input(xf, xf, handle, 0), RL_INVALID_ARGUMENT,
               {"linear_backward_input", "gradY", "[*,6]"});
  expect_error(rl_linear_backward_weight(gw, nullptr, y, xf), RL_INVALID_ARGUMENT,
               {"linear_backward_weight", "gradY: expected x's dtype f32", "found bf16"});
  expect_error(rl_linear_backward_weight(w, nullptr, y, x), RL_INVALID_ARGUMENT,
               {"gradW", "expected dtype f32", "found bf16"});
  Tensor square({3, 3}), sw({3, 3});
  WeightHandle s(sw, true);
  expect_error(rl_linear(square, square, s, nullptr, 0), RL_INVALID_ARGUMENT, {"overlaps"});
}

TEST(LinearErrors, ClosedBufferBehindAView) {
  rl_weight handle = 0;
  Tensor x({3, 4}), y({3, 6});
  {
    Tensor w({6, 4});
    RL_CHECK(rl_weight_view(&handle, w));
  }
  expect_error(rl_linear(y, x, handle, nullptr, 0), RL_INVALID_HANDLE, {"weight", "closed"});
  RL_CHECK(rl_weight_free(handle));
  expect_error(rl_weight_free(handle), RL_INVALID_HANDLE, {"weight"});
}

}  // namespace
}  // namespace rl::test
