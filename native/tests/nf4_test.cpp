// NF4: quantisation and dequantisation against the definition, and products with weights that stay in four bits against the
// dequantised matrix.
#include <algorithm>
#include <memory>

#include "support.h"

namespace rl::test {
namespace {

const double kCodes[16] = {-1.0f,
                           -0.6961928009986877f,
                           -0.5250730514526367f,
                           -0.39491748809814453f,
                           -0.28444138169288635f,
                           -0.18477343022823334f,
                           -0.09105003625154495f,
                           0.0f,
                           0.07958029955625534f,
                           0.16093020141124725f,
                           0.24611230194568634f,
                           0.33791524171829224f,
                           0.44070982933044434f,
                           0.5626170039176941f,
                           0.7229568362236023f,
                           1.0f};

/// 256 ascending numbers in [-1,1] as dense near 0 as bitsandbytes' are, 0 and 1 among them.
Floats nested_code() {
  Floats code;
  for (int i = 0; i < 256; i++) {
    const double x = (i - 127) / 128.0;
    code.push_back(static_cast<float>(std::copysign(std::pow(std::abs(x), 2.5), x)));
  }
  return code;
}

/// A matrix in NF4 with tensors of its own.
class Matrix4 {
 public:
  Matrix4(int64_t rows, int64_t cols, bool doubled)
      : rows(rows),
        cols(cols),
        blocks((rows * cols + 63) / 64),
        doubled(doubled),
        codes({(rows * cols + 1) / 2}, RL_U8),
        absmax({blocks}, doubled ? RL_U8 : RL_F32),
        nested_code({256}, test::nested_code()),
        nested_absmax({(blocks + 255) / 256}),
        offset({1}) {}
  Matrix4(int64_t rows, int64_t cols, bool doubled, const Floats &w, int32_t dtype = RL_F32)
      : Matrix4(rows, cols, doubled) {
    quantize(w, dtype);
  }

  void quantize(const Floats &w, int32_t dtype = RL_F32) {
    const Tensor t({rows, cols}, w, dtype);
    const rl_nf4 m = raw();
    RL_CHECK(rl_nf4_quantize(&m, t));
  }

  rl_nf4 raw() const {
    rl_nf4 m{rows, cols, *codes, *absmax, {}, {}, {}};
    if (doubled) {
      m.nestedCode = *nested_code;
      m.nestedAbsmax = *nested_absmax;
      m.offset = *offset;
    }
    return m;
  }

  Floats dequantized(int32_t dtype = RL_F32) const {
    const Tensor w({rows, cols}, dtype);
    const rl_nf4 m = raw();
    EXPECT_EQ(rl_nf4_dequantize(w, &m), RL_OK) << rl_last_error();
    return w.get();
  }

  static std::vector<uint8_t> bytes(const Tensor &t) {
    const rl_tensor *raw = t;
    std::vector<uint8_t> out(static_cast<size_t>(raw->shape[0]));
    EXPECT_EQ(rl_copy_to_host(out.data(), t, raw->shape[0]), RL_OK) << rl_last_error();
    return out;
  }
  std::vector<int> code_list() const {
    std::vector<int> out;
    for (uint8_t b : bytes(codes)) {
      out.push_back(b >> 4);
      out.push_back(b & 15);
    }
    return out;
  }

  const int64_t rows, cols, blocks;
  const bool doubled;
  Tensor codes, absmax, nested_code, nested_absmax, offset;
};

/// The weight of several matrices' joined rows.
class Weight4 {
 public:
  Weight4(const std::vector<const Matrix4 *> &parts, int32_t dtype) {
    std::vector<rl_nf4> raw;
    for (const Matrix4 *p : parts) raw.push_back(p->raw());
    EXPECT_EQ(rl_weight_pack_nf4(&handle_, raw.data(), static_cast<int32_t>(raw.size()), dtype), RL_OK)
        << rl_last_error();
  }
  ~Weight4() { rl_weight_free(handle_); }
  Weight4(const Weight4 &) = delete;
  Weight4 &operator=(const Weight4 &) = delete;
  operator rl_weight() const { return handle_; }

 private:
  rl_weight handle_ = 0;
};

// ---- quantisation ----------------------------------------------------------------------------------------------------

using Shape = std::tuple<int64_t, int64_t, int32_t>;
class Nf4Quantize : public testing::TestWithParam<Shape> {};

TEST_P(Nf4Quantize, NearestCodes) {
  const auto [rows, cols, dtype] = GetParam();
  const int64_t n = rows * cols;
  Floats w = random_floats(n, 11, dtype, 0.05f);
  for (int64_t i = 64; i < std::min<int64_t>(n, 128); i++) w[static_cast<size_t>(i)] = 0;
  const Matrix4 m(rows, cols, false, w, dtype);
  const Floats absmax = m.absmax.get(), back = m.dequantized();
  const std::vector<int> codes = m.code_list();
  for (int64_t i = 0; i < n; i++) {
    const size_t at = static_cast<size_t>(i), block = at / 64;
    double largest = 0;
    for (size_t j = block * 64; j < std::min<size_t>(block * 64 + 64, w.size()); j++)
      largest = std::max(largest, std::abs(static_cast<double>(w[j])));
    if (largest > 0 || block * 64 + 64 <= w.size()) {
      ASSERT_EQ(static_cast<double>(absmax[block]), largest);
    }
    if (largest == 0) {
      ASSERT_EQ(codes[at], 7);
      ASSERT_EQ(back[at], 0);
      continue;
    }
    const double x = static_cast<double>(w[at]) / largest;
    double nearest = 9;
    for (double c : kCodes) nearest = std::min(nearest, std::abs(x - c));
    ASSERT_LE(std::abs(x - kCodes[codes[at]]), nearest + 1e-6) << i;
    ASSERT_FLOAT_EQ(back[at], static_cast<float>(kCodes[codes[at]] * largest)) << i;
  }
  if (n % 2) {
    EXPECT_EQ(codes[static_cast<size_t>(n)], 7);
  }
}

TEST_P(Nf4Quantize, AbsmaxQuantisedItself) {
  const auto [rows, cols, dtype] = GetParam();
  const Floats w = random_floats(rows * cols, 12, dtype, 0.05f);
  const Matrix4 single(rows, cols, false, w, dtype), twice(rows, cols, true, w, dtype);
  EXPECT_EQ(Matrix4::bytes(single.codes), Matrix4::bytes(twice.codes));
  const Floats absmax = single.absmax.get(), nested = twice.nested_absmax.get(), code = nested_code();
  const std::vector<uint8_t> q = Matrix4::bytes(twice.absmax);
  double sum = 0;
  for (float a : absmax) sum += static_cast<double>(a);
  const float mean = twice.offset.get()[0];
  ASSERT_FLOAT_EQ(mean, static_cast<float>(sum / static_cast<double>(absmax.size())));
  const std::vector<int> codes = twice.code_list();
  const Floats back = twice.dequantized();
  for (size_t b = 0; b < absmax.size(); b++) {
    double largest = 0;
    for (size_t j = b / 256 * 256; j < std::min(b / 256 * 256 + 256, absmax.size()); j++)
      largest = std::max(largest, std::abs(static_cast<double>(absmax[j] - mean)));
    ASSERT_EQ(static_cast<double>(nested[b / 256]), largest);
    const double x = largest > 0 ? static_cast<double>(absmax[b] - mean) / largest : 0;
    double nearest = 9;
    for (float c : code) nearest = std::min(nearest, std::abs(x - static_cast<double>(c)));
    // The quotient is rounded to steps of 2 / 65535 first.
    if (largest > 0) {
      ASSERT_LE(std::abs(x - static_cast<double>(code[q[b]])), nearest + 2.0 / 65535) << b;
    }
    const double scale = static_cast<double>(code[q[b]]) * largest + static_cast<double>(mean);
    for (size_t i = b * 64; i < std::min<size_t>(b * 64 + 64, w.size()); i++)
      ASSERT_NEAR(back[i], kCodes[codes[i]] * scale, 1e-6 * std::abs(scale)) << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, Nf4Quantize,
                         testing::Values(Shape{1, 1, RL_F32}, Shape{3, 5, RL_F32}, Shape{1, 63, RL_BF16},
                                         Shape{8, 8, RL_F32}, Shape{5, 13, RL_BF16}, Shape{96, 160, RL_F32},
                                         Shape{64, 320, RL_BF16}, Shape{301, 257, RL_F32}));

TEST(Nf4, EveryCodeAndItsBorders) {
  // A block of +-1 and the numbers beside each midpoint: ties go to the lower code.
  Floats w(64, 0);
  std::vector<int> want(64, 7);
  w[0] = 1, want[0] = 15;
  w[1] = -1, want[1] = 0;
  for (int j = 0; j < 15; j++) {
    const float middle = (static_cast<float>(kCodes[j]) + static_cast<float>(kCodes[j + 1])) / 2;
    w[static_cast<size_t>(2 + 2 * j)] = middle, want[static_cast<size_t>(2 + 2 * j)] = j;
    w[static_cast<size_t>(3 + 2 * j)] = std::nextafter(middle, 2.0f), want[static_cast<size_t>(3 + 2 * j)] = j + 1;
  }
  const Matrix4 m(1, 64, false, w);
  EXPECT_EQ(m.code_list(), want);
}

TEST(Nf4, WhatIsNotFiniteStaysSo) {
  for (float bad : {NAN, INFINITY, -INFINITY}) {
    Floats w = random_floats(4 * 64, 3);
    w[70] = bad;
    const Floats single = Matrix4(4, 64, false, w).dequantized(), twice = Matrix4(4, 64, true, w).dequantized();
    EXPECT_FALSE(std::isfinite(single[70]));
    for (size_t i = 0; i < single.size(); i++) {
      if (i / 64 != 1) {
        EXPECT_TRUE(std::isfinite(single[i])) << i;
      }
      EXPECT_TRUE(std::isnan(twice[i])) << i;
    }
  }
}

// ---- products --------------------------------------------------------------------------------------------------------

struct Product {
  std::vector<int64_t> part_rows;
  int64_t k;
  int32_t dtype;
  bool doubled;
};

class Nf4Linear : public testing::TestWithParam<Product> {
 protected:
  void SetUp() override {
    const Product &p = GetParam();
    dtype = p.dtype;
    k = p.k;
    uint32_t seed = 20;
    std::vector<const Matrix4 *> raw;
    for (int64_t rows : p.part_rows) {
      parts.push_back(std::make_unique<Matrix4>(rows, k, p.doubled, random_floats(rows * k, seed++, RL_F32, 0.5f)));
      raw.push_back(parts.back().get());
      const Floats values = parts.back()->dequantized();
      w.insert(w.end(), values.begin(), values.end());
      n += rows;
    }
    weight = std::make_unique<Weight4>(raw, dtype);
    // As promised: no tensor is needed any more.
    parts.clear();
  }

  /// Errors of single terms add up as their root of squares does. bf16 rounds the matrix or its codes, by 2^-9 at most each. An
  /// f32 sum is rounded at every step, by 2^-24 of what it is so far, which is seldom over twice the root of the terms' squares.
  void expect_product(const Floats &got, const Floats &a, const std::function<double(int64_t, int64_t)> &b,
                      int64_t rows, int64_t cols, int64_t inner) {
    for (int64_t i = 0; i < rows; i++) {
      for (int64_t j = 0; j < cols; j++) {
        double want = 0, squares = 0;
        for (int64_t l = 0; l < inner; l++) {
          const double term = static_cast<double>(a[static_cast<size_t>(i * inner + l)]) * b(l, j);
          want += term;
          squares += term * term;
        }
        const double steps = std::sqrt(static_cast<double>(inner)) * 0x1p-23;
        const double bound = 6 * std::sqrt(squares) * (steps + (dtype == RL_BF16 ? 0x1p-9 : 0));
        ASSERT_NEAR(got[static_cast<size_t>(i * cols + j)], want, bound) << i << "," << j;
      }
    }
  }

  int64_t n = 0, k = 0;
  int32_t dtype = RL_F32;
  std::vector<std::unique_ptr<Matrix4>> parts;
  Floats w;
  std::unique_ptr<Weight4> weight;
};

TEST_P(Nf4Linear, ForwardIsTheDequantisedMatrix) {
  for (int64_t t : {1, 2, 7, 8, 9, 17, 65}) {
    const Floats x = random_floats(t * k, 1, dtype), bias = random_floats(n, 2);
    Tensor tx({t, k}, x, dtype), ty({t, n}), tb({n}, bias);
    RL_CHECK(rl_linear(ty, tx, *weight, nullptr, 0));
    const Floats y = ty.get();
    expect_product(
        y, x, [&](int64_t l, int64_t j) { return static_cast<double>(w[static_cast<size_t>(j * k + l)]); }, t, n, k);
    RL_CHECK(rl_linear(ty, tx, *weight, tb, 1));
    const Floats twice = ty.get();
    for (size_t i = 0; i < y.size(); i++)
      ASSERT_NEAR(twice[i], 2 * y[i] + bias[i % static_cast<size_t>(n)], 1e-5 * (1 + std::abs(y[i])));
    Tensor rounded({t, n}, RL_BF16);
    RL_CHECK(rl_linear(rounded, tx, *weight, nullptr, 0));
    const Floats bf16 = rounded.get();
    for (size_t i = 0; i < y.size(); i++) ASSERT_EQ(bf16[i], bf16_to_f32(f32_to_bf16(y[i])));
  }
}

TEST_P(Nf4Linear, BackwardIsTheDequantisedMatrix) {
  for (int64_t t : {1, 8, 9, 65, 100}) {
    const Floats g = random_floats(t * n, 3, dtype);
    Tensor tg({t, n}, g, dtype), tx({t, k});
    RL_CHECK(rl_linear_backward_input(tx, tg, *weight, 0));
    const Floats x = tx.get();
    expect_product(
        x, g, [&](int64_t l, int64_t j) { return static_cast<double>(w[static_cast<size_t>(l * k + j)]); }, t, k, n);
    RL_CHECK(rl_linear_backward_input(tx, tg, *weight, 1));
    const Floats twice = tx.get();
    // Where there are several pieces, they are added to x one by one.
    const double rounding = 1e-6 * std::sqrt(static_cast<double>(n));
    for (size_t i = 0; i < x.size(); i++) ASSERT_NEAR(twice[i], 2 * x[i], rounding);
  }
}

TEST_P(Nf4Linear, RowsAreTheDequantisedMatrixs) {
  const Ints ids = {static_cast<int32_t>(n - 1), 0, static_cast<int32_t>(n / 2), 0};
  const Tensor tids({4}, ids);
  for (int32_t out : {RL_F32, RL_BF16}) {
    const Tensor y({4, k}, out);
    RL_CHECK(rl_weight_rows(y, *weight, tids));
    const Floats got = y.get();
    for (int64_t i = 0; i < 4 * k; i++) {
      const double want = static_cast<double>(w[static_cast<size_t>(ids[static_cast<size_t>(i / k)] * k + i % k)]);
      // The sum that doubly quantised absmax are may be fused or not.
      ASSERT_NEAR(got[static_cast<size_t>(i)], want, std::abs(want) * (out == RL_BF16 ? 0x1p-8 : 1e-6)) << i;
    }
  }
}

TEST_P(Nf4Linear, ARowsBitsDependOnNothingElse) {
  // A GPU takes the codes for up to 96 rows. For more, or in bf16 with blocks that cross rows, it dequantises for a dense product,
  // which has another kernel for up to 16 rows.
  const bool gpu = std::string(backend()) != "cpu";
  const int64_t most = gpu ? 96 : 300, least = gpu && dtype == RL_BF16 && k % 64 ? 17 : 1;
  const Floats x = random_floats(most * k, 4, dtype), g = random_floats(most * n, 5, dtype);
  Tensor tx({most, k}, x, dtype), tg({most, n}, g, dtype), y({most, n}), gx({most, k});
  RL_CHECK(rl_linear(y, tx, *weight, nullptr, 0));
  RL_CHECK(rl_linear_backward_input(gx, tg, *weight, 0));
  const Floats all_y = y.get(), all_gx = gx.get();
  for (int64_t t : {1, 2, 3, 4, 5, 6, 7, 8, 9, 17, 64}) {
    if (t < least) continue;
    rl_tensor some_x = tx.raw(), some_g = tg.raw();
    some_x.shape[0] = some_g.shape[0] = t;
    Tensor some_y({t, n}), some_gx({t, k});
    RL_CHECK(rl_linear(some_y, &some_x, *weight, nullptr, 0));
    RL_CHECK(rl_linear_backward_input(some_gx, &some_g, *weight, 0));
    const Floats fewer_y = some_y.get(), fewer_gx = some_gx.get();
    EXPECT_EQ(std::memcmp(fewer_y.data(), all_y.data(), fewer_y.size() * 4), 0) << t << " rows forward";
    EXPECT_EQ(std::memcmp(fewer_gx.data(), all_gx.data(), fewer_gx.size() * 4), 0) << t << " rows backward";
  }
}

std::vector<Product> products() {
  std::vector<Product> all;
  // The CPU's backward walks more rows than so many in pieces; an emulator takes long for them.
  const int64_t many = std::string(backend()) == "cpu" ? 4000 : 300;
  for (int32_t dtype : {RL_F32, RL_BF16}) {
    for (bool doubled : {false, true}) {
      all.push_back({{64}, 64, dtype, doubled});
      all.push_back({{96}, 192, dtype, doubled});
      all.push_back({{64, 3, 70, 1}, 640, dtype, doubled});  // parts that end within panels, k of more than one chunk
      all.push_back({{many, 203}, 64, dtype, doubled});
      all.push_back({{3}, 5, dtype, doubled});
      all.push_back({{7, 9, 70}, 13, dtype, doubled});  // odd sizes: a part begins within no byte of the other's
      all.push_back({{96, 5}, 160, dtype, doubled});
    }
  }
  return all;
}

INSTANTIATE_TEST_SUITE_P(Products, Nf4Linear, testing::ValuesIn(products()));

/// The error of y = x W^T in bf16 with a weight in NF4 is smaller than with bf16(code * absmax), bitsandbytes' way: also where x
/// has a mean, which would let errors that all have one sign add up.
TEST(Nf4, BetterThanRoundedWeights) {
  const int64_t t = 16, n = 256, k = 4096;
  const Matrix4 m(n, k, true, random_floats(n * k, 2));
  const Floats w = m.dequantized();
  const Weight4 four({&m}, RL_BF16);
  const WeightHandle rounded(Tensor({n, k}, w, RL_BF16), true);
  for (float mean : {0.0f, 1.0f}) {
    Floats x = random_floats(t * k, 1, RL_F32, mean > 0 ? 0.3f : 1);
    for (float &v : x) v = bf16_to_f32(f32_to_bf16(v + mean));
    Tensor tx({t, k}, x, RL_BF16), ty({t, n}), tz({t, n});
    RL_CHECK(rl_linear(ty, tx, four, nullptr, 0));
    RL_CHECK(rl_linear(tz, tx, rounded, nullptr, 0));
    const Floats y = ty.get(), z = tz.get();
    double ours = 0, theirs = 0;
    for (int64_t i = 0; i < t; i++) {
      for (int64_t j = 0; j < n; j++) {
        double want = 0;
        for (int64_t l = 0; l < k; l++) {
          want += static_cast<double>(x[static_cast<size_t>(i * k + l)]) *
                  static_cast<double>(w[static_cast<size_t>(j * k + l)]);
        }
        const size_t at = static_cast<size_t>(i * n + j);
        ours += std::pow(static_cast<double>(y[at]) - want, 2);
        theirs += std::pow(static_cast<double>(z[at]) - want, 2);
      }
    }
    EXPECT_LT(std::sqrt(ours), 0.95 * std::sqrt(theirs)) << "mean " << mean;
  }
}

TEST(Nf4, HeadsTakeSuchWeights) {
  // More rows than one piece of the backward has, so that the vocabulary is walked in several.
  const int64_t t = 5, v = 4200, h = 64;
  const Matrix4 m(v, h, true, random_floats(v * h, 6, RL_F32, 0.2f));
  const Weight4 weight({&m}, RL_F32);
  Tensor rounded({v, h}, m.dequantized());
  const WeightHandle plain(rounded, true);
  Tensor x({t, h}, random_floats(t * h, 7)), targets({t}, Ints{0, 4199, 17, 4096, 4095});
  Tensor logp({t}), lse({t}), logp2({t}), lse2({t}), g({t}, Floats(5, 1.0f)), gx({t, h}), gx2({t, h});
  RL_CHECK(rl_head_logprob(logp, nullptr, lse, x, weight, targets, 1));
  RL_CHECK(rl_head_logprob(logp2, nullptr, lse2, x, plain, targets, 1));
  expect_close(logp.get(), logp2.get(), 1e-5, 1e-5, "logp");
  RL_CHECK(rl_head_logprob_backward(gx, nullptr, g, nullptr, x, weight, targets, lse, nullptr, 1));
  RL_CHECK(rl_head_logprob_backward(gx2, nullptr, g, nullptr, x, plain, targets, lse2, nullptr, 1));
  expect_close(gx.get(), gx2.get(), 1e-5, 1e-4, "gradX");
  Tensor loss({2}), loss2({2});
  RL_CHECK(rl_head_cross_entropy(loss, gx, nullptr, x, weight, targets, 1));
  RL_CHECK(rl_head_cross_entropy(loss2, gx2, nullptr, x, plain, targets, 1));
  expect_close(loss.get(), loss2.get(), 1e-5, 1e-5, "loss");
  expect_close(gx.get(), gx2.get(), 1e-5, 1e-4, "gradX");
  Tensor kl({t}), lseRef({t});
  RL_CHECK(rl_head_full_kl(kl, lse, lseRef, x, weight, x, plain, 1));
  expect_close(kl.get(), Floats(5, 0.0f), 1e-5, 0, "kl");
}

TEST(Nf4, FourBitsAndNoMore) {
  rl_device d = device();
  const int64_t n = 1024, k = 1024;
  Tensor x({1, k}, random_floats(k, 1), RL_F32), y({1, n}), gx({1, k});
  const Matrix4 m(n, k, true, random_floats(n * k, 2));
  int64_t before, after, peak, reserved;
  RL_CHECK(rl_device_memory(&before, &peak, &reserved, d));
  const Weight4 weight({&m}, RL_F32);
  RL_CHECK(rl_linear(y, x, weight, nullptr, 0));
  RL_CHECK(rl_linear_backward_input(gx, y, weight, 0));
  RL_CHECK(rl_device_memory(&after, &peak, &reserved, d));
  EXPECT_LE(after - before, (n * k / 2 + n * k / 64) * 9 / 8);  // an eighth is what the allocator rounds up by
}

// ---- errors ----------------------------------------------------------------------------------------------------------

TEST(Nf4, Errors) {
  const Matrix4 single(4, 64, false, random_floats(256, 1)), twice(4, 64, true, random_floats(256, 1)),
      narrow(4, 32, false, random_floats(128, 1));
  Tensor w({4, 64}), wrong({4, 63}), ints({4, 64}, RL_I32);
  auto quantize = [&](rl_nf4 m) { return rl_nf4_quantize(&m, w); };
  auto dequantize = [&](rl_nf4 m) { return rl_nf4_dequantize(w, &m); };
  auto pack = [&](std::vector<rl_nf4> parts, int32_t dtype = RL_F32) {
    rl_weight handle = 0;
    const rl_status status = rl_weight_pack_nf4(&handle, parts.data(), static_cast<int32_t>(parts.size()), dtype);
    EXPECT_EQ(handle, 0u);
    return status;
  };
  const rl_nf4 s = single.raw(), d = twice.raw();
  for (const auto &call : {std::function<rl_status(rl_nf4)>(quantize), std::function<rl_status(rl_nf4)>(dequantize),
                           std::function<rl_status(rl_nf4)>([&](rl_nf4 m) { return pack({m}); })}) {
    rl_nf4 m = s;
    m.cols = 0;
    expect_error(call(m), RL_INVALID_ARGUMENT, {"rows and cols from 1", "[4,0]"});
    m.cols = INT64_MAX, m.rows = INT64_MAX;
    expect_error(call(m), RL_INVALID_ARGUMENT, {"rows and cols from 1"});
    m.rows = m.cols = (int64_t{1} << 31) - 1;
    expect_error(call(m), RL_INVALID_ARGUMENT, {".codes", "expected shape"});
    m = s;
    m.rows = -1;
    expect_error(call(m), RL_INVALID_ARGUMENT, {"[-1,64]"});
    m = s;
    m.codes.shape[0]--;
    expect_error(call(m), RL_INVALID_ARGUMENT, {".codes", "expected shape [128]", "found [127]"});
    m = s;
    m.codes.dtype = RL_I32, m.codes.shape[0] = 32;
    expect_error(call(m), RL_INVALID_ARGUMENT, {".codes", "expected dtype u8"});
    m = s;
    m.absmax.shape[0] = 3;
    expect_error(call(m), RL_INVALID_ARGUMENT, {".absmax", "expected shape [4]"});
    m = s;
    m.absmax.dtype = RL_BF16;
    expect_error(call(m), RL_INVALID_ARGUMENT, {".absmax", "expected f32 or u8", "bf16"});
    m = s;
    m.offset = d.offset;
    expect_error(call(m), RL_INVALID_ARGUMENT, {".offset", "buffer 0"});
    m = s;
    m.codes.buffer = 0;
    expect_error(call(m), RL_INVALID_HANDLE, {".codes"});
    m = d;
    m.nestedCode.buffer = 0;
    expect_error(call(m), RL_INVALID_HANDLE, {".nestedCode"});
    m = d;
    m.nestedCode.shape[0] = 255;
    expect_error(call(m), RL_INVALID_ARGUMENT, {".nestedCode", "[256]"});
    m = d;
    m.nestedAbsmax.dtype = RL_I32;
    expect_error(call(m), RL_INVALID_ARGUMENT, {".nestedAbsmax", "f32"});
    m = d;
    m.offset.rank = 0;
    expect_error(call(m), RL_INVALID_ARGUMENT, {".offset"});
  }
  expect_error(rl_nf4_quantize(nullptr, w), RL_INVALID_ARGUMENT, {"y", "null"});
  expect_error(rl_nf4_quantize(&s, nullptr), RL_INVALID_ARGUMENT, {"w", "null"});
  expect_error(rl_nf4_quantize(&s, wrong), RL_INVALID_ARGUMENT, {"w", "[4,64]", "[4,63]"});
  expect_error(rl_nf4_quantize(&s, ints), RL_INVALID_ARGUMENT, {"w", "i32"});
  rl_nf4 same = s;
  same.absmax.buffer = same.codes.buffer;
  expect_error(rl_nf4_quantize(&same, w), RL_INVALID_ARGUMENT, {"overlaps"});
  expect_error(rl_nf4_dequantize(w, nullptr), RL_INVALID_ARGUMENT, {"x", "null"});
  expect_error(rl_nf4_dequantize(wrong, &s), RL_INVALID_ARGUMENT, {"w", "[4,64]", "[4,63]"});
  expect_error(rl_weight_pack_nf4(nullptr, &s, 1, RL_F32), RL_INVALID_ARGUMENT, {"weight", "null"});
  rl_weight handle = 0;
  expect_error(rl_weight_pack_nf4(&handle, nullptr, 1, RL_F32), RL_INVALID_ARGUMENT, {"parts", "null"});
  expect_error(rl_weight_pack_nf4(&handle, &s, 0, RL_F32), RL_INVALID_ARGUMENT, {"count", "1 to 64"});
  expect_error(rl_weight_pack_nf4(&handle, &s, 65, RL_F32), RL_INVALID_ARGUMENT, {"count", "1 to 64"});
  expect_error(pack({s}, RL_F16), RL_INVALID_ARGUMENT, {"dtype", "f16"});
  expect_error(pack({s, narrow.raw()}), RL_INVALID_ARGUMENT, {"parts[1]", "64 columns", "32"});
  expect_error(pack({s, d}), RL_INVALID_ARGUMENT, {"parts[1].absmax", "f32", "u8"});
  {
    const Weight4 weight({&single}, RL_BF16);
    Tensor x({1, 64}), y({1, 4});
    expect_error(rl_linear(y, x, weight, nullptr, 0), RL_INVALID_ARGUMENT, {"x", "bf16"});
    Tensor ids({1}, Ints{4});
    expect_error(rl_weight_rows(x, weight, ids), RL_INVALID_ARGUMENT, {"weight_rows", "ids[0] is 4"});
    handle = weight;
  }
  Tensor x({1, 64}), y({1, 4});
  expect_error(rl_linear(y, x, handle, nullptr, 0), RL_INVALID_HANDLE, {"weight"});
}

}  // namespace
}  // namespace rl::test
