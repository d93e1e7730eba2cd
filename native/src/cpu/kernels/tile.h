// Vectors of the width at hand, and products of small f32 matrices that lie in the caches: what attention is made of.
#pragma once

#include "cpu/kernels/simd.h"

namespace rl::cpu::RL_ISA {

// A register tile is kTileRows x kTileVectors accumulators: enough to hide the latency of an FMA, few enough to stay in
// registers with a row of B and one element of A (32 registers with AVX-512, 16 without).
#if defined(__AVX512F__)
constexpr int kWidth = 16, kTileVectors = 2, kTileRows = 8;
#elif defined(__AVX2__)
constexpr int kWidth = 8, kTileVectors = 3, kTileRows = 4;
#else
constexpr int kWidth = 4, kTileVectors = 3, kTileRows = 4;
#endif

typedef float vecf __attribute__((vector_size(kWidth * 4)));
typedef int32_t veci __attribute__((vector_size(kWidth * 4)));
typedef float vecf_in_memory __attribute__((vector_size(kWidth * 4), aligned(4), may_alias));
typedef int32_t veci_in_memory __attribute__((vector_size(kWidth * 4), aligned(4), may_alias));

RL_INLINE vecf load(const float *x) { return *reinterpret_cast<const vecf_in_memory *>(x); }
RL_INLINE veci load(const int32_t *x) { return *reinterpret_cast<const veci_in_memory *>(x); }
RL_INLINE void store(float *y, vecf x) { *reinterpret_cast<vecf_in_memory *>(y) = x; }

// bf16 by vectors; the rounding is from_f32's.
typedef uint16_t vech __attribute__((vector_size(kWidth * 2)));
typedef uint16_t vech_in_memory __attribute__((vector_size(kWidth * 2), aligned(2), may_alias));
typedef uint32_t vecu __attribute__((vector_size(kWidth * 4)));
RL_INLINE vecf load(const bf16 *x) {
  const vech bits = *reinterpret_cast<const vech_in_memory *>(x);
  return reinterpret_cast<vecf>(__builtin_convertvector(bits, vecu) << 16);
}
RL_INLINE void store(bf16 *y, vecf x) {
  const vecu bits = reinterpret_cast<vecu>(x);
  const vecu rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const vecu kept = (bits & 0x7fffffffu) > 0x7f800000u ? (bits >> 16) | 0x40u : rounded;
  *reinterpret_cast<vech_in_memory *>(y) = __builtin_convertvector(kept, vech);
}

RL_INLINE vecf broadcast(float x) { return x - vecf{}; }

/// a where it is greater, else b: b if either is NaN.
RL_INLINE vecf greater(vecf a, vecf b) { return a > b ? a : b; }

RL_INLINE float sum_of(vecf x) {
  float sum = 0;
  for (int i = 0; i < kWidth; i++) sum += x[i];
  return sum;
}

/// y[i] = f(i) for i < n, f giving a vector or, for the rest, one number.
template <class Y, class Vector, class Scalar>
RL_INLINE void for_row(Y *y, int64_t n, Vector &&vector, Scalar &&scalar) {
  int64_t i = 0;
  for (; i + kWidth <= n; i += kWidth) store(y + i, vector(i));
  for (; i < n; i++) y[i] = from_f32<Y>(scalar(i));
}

/// y = x * factor
template <class Y, class X>
RL_INLINE void scale_row(Y *y, const X *x, int64_t n, float factor) {
  for_row(y, n, [&](int64_t i) { return load(x + i) * factor; }, [&](int64_t i) { return to_f32(x[i]) * factor; });
}

/// sum of x * y
template <class X>
RL_INLINE float dot_row(const float *x, const X *y, int64_t n) {
  vecf sums{};
  int64_t i = 0;
  for (; i + kWidth <= n; i += kWidth) sums += load(x + i) * load(y + i);
  float sum = sum_of(sums);
  for (; i < n; i++) sum += x[i] * to_f32(y[i]);
  return sum;
}

/// 2^x for x <= 127 within about 2 units in the last place; 0 below -126. NaN stays NaN.
RL_INLINE vecf exp2_vec(vecf x) {
  const vecf lowest = broadcast(-126.0f);
  const vecf c = x < lowest ? lowest : x;
  const vecf shifted = c + 12582912.0f;  // rounds to the nearest integer, in the low mantissa bits
  const vecf r = c - (shifted - 12582912.0f);
  vecf p = 1.535336188319500e-4f * r + 1.339887440266574e-3f;
  p = p * r + 9.618437357674640e-3f;
  p = p * r + 5.550332471162809e-2f;
  p = p * r + 2.402264791363012e-1f;
  p = p * r + 6.931472028550421e-1f;
  p = p * r + 1.0f;
  const vecu power = (reinterpret_cast<vecu>(shifted) << 23) + 0x3f800000u;  // unsigned: a NaN's bits may wrap
  const vecf y = p * reinterpret_cast<vecf>(power);
  return x < lowest ? vecf{} : y;
}

/// 1 / (1 + e^-x): one definition for whole vectors and for the numbers that are left over.
RL_INLINE vecf sigmoid(vecf x) {
  const vecf power = x * -1.44269504f, highest = broadcast(126.0f);
  const vecf s = 1.0f / (1.0f + exp2_vec(power > highest ? highest : power));
  return power > highest ? broadcast(0.0f) : s;  // not 2^-126: a factor of -1e38 would make it count
}
RL_INLINE float sigmoid(float x) { return sigmoid(broadcast(x))[0]; }

// One step of a transposition by perfect shuffles: log2(kWidth) of them transpose kWidth vectors.
RL_INLINE vecf low_halves(vecf a, vecf b) {
#if defined(__AVX512F__)
  return __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
#elif defined(__AVX2__)
  return __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
#else
  return __builtin_shufflevector(a, b, 0, 4, 1, 5);
#endif
}
RL_INLINE vecf high_halves(vecf a, vecf b) {
#if defined(__AVX512F__)
  return __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
#elif defined(__AVX2__)
  return __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
#else
  return __builtin_shufflevector(a, b, 2, 6, 3, 7);
#endif
}

/// Lane i of the result is the sum of a[i]'s lanes. Overwrites a.
RL_INLINE vecf sums_of(vecf (&a)[kWidth]) {
#pragma GCC unroll 4
  for (int half = kWidth / 2; half > 0; half /= 2) {
#pragma GCC unroll 8
    for (int i = 0; i < half; i++) a[i] = low_halves(a[i], a[i + half]) + high_halves(a[i], a[i + half]);
  }
  return a[0];
}

/// y[c,r] = x[r,c], r < rows, c < cols; both multiples of kWidth.
static inline void transpose(float *y, int64_t ldy, const float *x, int64_t ldx, int64_t rows, int64_t cols) {
  for (int64_t r = 0; r < rows; r += kWidth) {
    for (int64_t c = 0; c < cols; c += kWidth) {
      vecf a[kWidth], b[kWidth];
      for (int i = 0; i < kWidth; i++) a[i] = load(x + (r + i) * ldx + c);
#pragma GCC unroll 4
      for (int step = 1; step < kWidth; step *= 2) {
#pragma GCC unroll 8
        for (int i = 0; i < kWidth / 2; i++) {
          b[2 * i] = low_halves(a[i], a[i + kWidth / 2]);
          b[2 * i + 1] = high_halves(a[i], a[i + kWidth / 2]);
        }
#pragma GCC unroll 16
        for (int i = 0; i < kWidth; i++) a[i] = b[i];
      }
      for (int i = 0; i < kWidth; i++) store(y + (c + i) * ldy + r, a[i]);
    }
  }
}

template <int ROWS, int VECTORS, bool A_BY_COLUMN, bool ADD>
RL_INLINE void tile(float *c, int64_t ldc, const float *a, int64_t lda, const float *b, int64_t ldb, int64_t k) {
  vecf acc[ROWS][VECTORS];
  for (int r = 0; r < ROWS; r++) {
    for (int v = 0; v < VECTORS; v++) acc[r][v] = ADD ? load(c + r * ldc + v * kWidth) : vecf{};
  }
  for (int64_t p = 0; p < k; p++) {
    vecf row[VECTORS];
    for (int v = 0; v < VECTORS; v++) row[v] = load(b + p * ldb + v * kWidth);
    for (int r = 0; r < ROWS; r++) {
      const float x = A_BY_COLUMN ? a[p * lda + r] : a[r * lda + p];
      for (int v = 0; v < VECTORS; v++) acc[r][v] += x * row[v];
    }
  }
  for (int r = 0; r < ROWS; r++) {
    for (int v = 0; v < VECTORS; v++) store(c + r * ldc + v * kWidth, acc[r][v]);
  }
}

/// Some columns of tile_product(): VECTORS vectors.
template <int VECTORS, bool A_BY_COLUMN, bool ADD>
RL_INLINE void tile_column(float *c, int64_t ldc, const float *a, int64_t lda, const float *b, int64_t ldb, int64_t m,
                           int64_t k) {
  const int64_t step = A_BY_COLUMN ? 1 : lda;
  int64_t i = 0;
  for (; i + kTileRows <= m; i += kTileRows) {
    tile<kTileRows, VECTORS, A_BY_COLUMN, ADD>(c + i * ldc, ldc, a + i * step, lda, b, ldb, k);
  }
  for (; i < m; i += 4) tile<4, VECTORS, A_BY_COLUMN, ADD>(c + i * ldc, ldc, a + i * step, lda, b, ldb, k);
}

/// C[m,n] = A B or, with ADD, C += A B. m a multiple of 4, n of kWidth. A_BY_COLUMN: a[p,i] is A's element (i,p).
template <bool A_BY_COLUMN, bool ADD>
static inline void tile_product(float *c, int64_t ldc, const float *a, int64_t lda, const float *b, int64_t ldb,
                                int64_t m, int64_t n, int64_t k) {
  int64_t j = 0;
  for (; j + kTileVectors * kWidth <= n; j += kTileVectors * kWidth) {
    tile_column<kTileVectors, A_BY_COLUMN, ADD>(c + j, ldc, a, lda, b + j, ldb, m, k);
  }
  for (; j < n; j += kWidth) tile_column<1, A_BY_COLUMN, ADD>(c + j, ldc, a, lda, b + j, ldb, m, k);
}

}  // namespace rl::cpu::RL_ISA
