// y = x, converting between f32, bf16 and f16 where the dtypes differ.  y (=)
#include "cpu/kernels/f16.h"
#include "cpu/kernels/pieces.h"
#include "cpu/kernels/tile.h"

namespace rl::cpu::RL_ISA {
namespace {

template <class Y, class X>
RL_INLINE void convert(Y *y, const X *x, int64_t n) {
  scale_row(y, x, n, 1.0f);
}
#if defined(__F16C__)
// By hand: the compiler does not vectorise the one-element conversions.
RL_INLINE void widen(float *y, const uint16_t *x) {
  _mm256_storeu_ps(y, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)x)));
}
RL_INLINE void narrow(uint16_t *y, const float *x) {
  _mm_storeu_si128((__m128i *)y, _mm256_cvtps_ph(_mm256_loadu_ps(x), 0));
}
template <class Y>
RL_INLINE void convert(Y *y, const f16 *x, int64_t n) {
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    float wide[8];
    widen(wide, &x[i].bits);
    for (int j = 0; j < 8; j++) y[i + j] = from_f32<Y>(wide[j]);
  }
  for (; i < n; i++) y[i] = from_f32<Y>(to_f32(x[i]));
}
template <class X>
RL_INLINE void convert(f16 *y, const X *x, int64_t n) {
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    float wide[8];
    for (int j = 0; j < 8; j++) wide[j] = to_f32(x[i + j]);
    narrow(&y[i].bits, wide);
  }
  for (; i < n; i++) y[i] = f16_from_f32(to_f32(x[i]));
}
#else
template <class Y>
RL_INLINE void convert(Y *y, const f16 *x, int64_t n) {
  RL_SIMD
  for (int64_t i = 0; i < n; i++) y[i] = from_f32<Y>(to_f32(x[i]));
}
template <class X>
RL_INLINE void convert(f16 *y, const X *x, int64_t n) {
  RL_SIMD
  for (int64_t i = 0; i < n; i++) y[i] = f16_from_f32(to_f32(x[i]));
}
#endif
RL_INLINE void convert(f16 *, const f16 *, int64_t) {}  // the same dtype: memcpy

template <class Body>
RL_INLINE void with_type(int32_t dtype, Body &&body) {
  if (dtype == RL_F16) {
    body(f16{});
  } else {
    with_float(dtype, body);
  }
}

}  // namespace

void copy(Device &device, View y, View x) {
  const Pieces pieces(y, x);
  const int64_t size = dtype_size(x.dtype);
#pragma omp parallel for schedule(static) num_threads(cpu(device).threads()) if (pieces.total() > 65536)
  for (int64_t i = 0; i < pieces.count(); i++) {
    const int64_t n = pieces.length(i);
    if (x.dtype == y.dtype) {
      const char *from = size == 4   ? pieces.at<const char[4]>(x, i)[0]
                         : size == 2 ? pieces.at<const char[2]>(x, i)[0]
                                     : pieces.at<const char>(x, i);
      char *to = size == 4   ? pieces.at<char[4]>(y, i)[0]
                 : size == 2 ? pieces.at<char[2]>(y, i)[0]
                             : pieces.at<char>(y, i);
      __builtin_memcpy(to, from, static_cast<size_t>(n * size));
      continue;
    }
    with_type(x.dtype, [&](auto tx) {
      with_type(y.dtype, [&](auto ty) { convert(pieces.at<decltype(ty)>(y, i), pieces.at<decltype(tx)>(x, i), n); });
    });
  }
}

}  // namespace rl::cpu::RL_ISA
