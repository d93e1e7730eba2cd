// C[m,n] += A[m,k] B[k,n] in f32 for tiles that lie in the caches: the products inside attention.
// Written with vector extensions: 4 rows by NV vectors of accumulators stay in registers.
#pragma once

#include "cpu/kernels/simd.h"

namespace rl::cpu::RL_ISA {

#if defined(__AVX512F__)
constexpr int kWidth = 16, kVectors = 4;
#elif defined(__AVX2__)
constexpr int kWidth = 8, kVectors = 2;
#else
constexpr int kWidth = 4, kVectors = 2;
#endif
typedef float vecf __attribute__((vector_size(kWidth * 4), aligned(4), may_alias));

template <int ROWS, int NV>
RL_INLINE void tile(float *c, int64_t ldc, const float *a, int64_t lda, const float *b, int64_t ldb, int64_t k) {
  vecf acc[ROWS][NV];
  for (int r = 0; r < ROWS; r++) {
    for (int v = 0; v < NV; v++) acc[r][v] = *reinterpret_cast<const vecf *>(c + r * ldc + v * kWidth);
  }
  for (int64_t p = 0; p < k; p++) {
    vecf row[NV];
    for (int v = 0; v < NV; v++) row[v] = *reinterpret_cast<const vecf *>(b + p * ldb + v * kWidth);
    for (int r = 0; r < ROWS; r++) {
      const float x = a[r * lda + p];
      for (int v = 0; v < NV; v++) acc[r][v] += x * row[v];
    }
  }
  for (int r = 0; r < ROWS; r++) {
    for (int v = 0; v < NV; v++) *reinterpret_cast<vecf *>(c + r * ldc + v * kWidth) = acc[r][v];
  }
}

template <int ROWS>
RL_INLINE void tile_rows(float *c, int64_t ldc, const float *a, int64_t lda, const float *b, int64_t ldb, int64_t n,
                         int64_t k) {
  int64_t j = 0;
  for (; j + kVectors * kWidth <= n; j += kVectors * kWidth) tile<ROWS, kVectors>(c + j, ldc, a, lda, b + j, ldb, k);
  for (; j + kWidth <= n; j += kWidth) tile<ROWS, 1>(c + j, ldc, a, lda, b + j, ldb, k);
  for (; j < n; j++) {
    for (int r = 0; r < ROWS; r++) {
      float sum = c[r * ldc + j];
      for (int64_t p = 0; p < k; p++) sum += a[r * lda + p] * b[p * ldb + j];
      c[r * ldc + j] = sum;
    }
  }
}

static inline void tile_gemm(float *c, int64_t ldc, const float *a, int64_t lda, const float *b, int64_t ldb, int64_t m,
                             int64_t n, int64_t k) {
  int64_t i = 0;
  for (; i + 4 <= m; i += 4) tile_rows<4>(c + i * ldc, ldc, a + i * lda, lda, b, ldb, n, k);
  for (; i < m; i++) tile_rows<1>(c + i * ldc, ldc, a + i * lda, lda, b, ldb, n, k);
}

}  // namespace rl::cpu::RL_ISA
