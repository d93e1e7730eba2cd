// IEEE half precision: stored, converted, never computed with. In integers, since a processor without F16C, and a
// compiler without _Float16, must do too; the loops vectorise, and where the hardware has the conversion it is used.
#pragma once

#include "cpu/kernels/tile.h"

#if defined(__F16C__)
#include <immintrin.h>
#endif

namespace rl::cpu::RL_ISA {

struct f16 {
  uint16_t bits;
};

RL_INLINE float to_f32(f16 x) {
#if defined(__F16C__)
  return _cvtsh_ss(x.bits);
#else
  const uint32_t sign = static_cast<uint32_t>(x.bits & 0x8000u) << 16,
                 magnitude = static_cast<uint32_t>(x.bits & 0x7fffu) << 13;
  // As a float with the exponent's bias off by 112: one product puts right normal and subnormal numbers alike.
  float y;
  std::memcpy(&y, &magnitude, 4);
  y *= 0x1p112f;
  uint32_t bits;
  std::memcpy(&bits, &y, 4);
  bits = magnitude >= 0x0f800000u ? magnitude | 0x7f800000u | (magnitude > 0x0f800000u ? 0x400000u : 0u) : bits;
  bits |= sign;
  std::memcpy(&y, &bits, 4);
  return y;
#endif
}

/// Round to nearest even; too large gives infinity; NaN stays NaN.
RL_INLINE f16 f16_from_f32(float x) {
#if defined(__F16C__)
  return f16{static_cast<uint16_t>(_cvtss_sh(x, 0))};
#else
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  const uint32_t sign = (bits >> 16) & 0x8000u, magnitude = bits & 0x7fffffffu;
  // Subnormal results: adding 0.5 leaves the mantissa rounded by the processor, in units of 2^-24.
  float small;
  std::memcpy(&small, &magnitude, 4);
  small += 0.5f;
  uint32_t small_bits;
  std::memcpy(&small_bits, &small, 4);
  const uint32_t subnormal = small_bits - 0x3f000000u;
  const uint32_t normal = (magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;
  const uint32_t special = magnitude > 0x7f800000u ? 0x7e00u | ((magnitude >> 13) & 0x3ffu) : 0x7c00u;
  const uint32_t finite = magnitude < 0x38800000u ? subnormal : normal;
  return f16{static_cast<uint16_t>(sign | (magnitude >= 0x477ff000u ? special : finite))};
#endif
}

template <>
RL_INLINE f16 from_f32<f16>(float x) {
  return f16_from_f32(x);
}

// By vectors. By hand where the hardware has them: the compiler does not vectorise the one-element conversions. (The forms with a
// mask of all ones: GCC 12 warns of the plain ones' own undefined operand.)
RL_INLINE vecf load(const f16 *x) {
#if defined(__AVX512F__)
  return (vecf)_mm512_maskz_cvtph_ps(0xffff, _mm256_loadu_si256((const __m256i *)x));
#elif defined(__F16C__) && defined(__AVX2__)
  return (vecf)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)x));
#else
  float wide[kWidth];
  RL_SIMD
  for (int i = 0; i < kWidth; i++) wide[i] = to_f32(x[i]);
  return load(wide);
#endif
}
RL_INLINE void store(f16 *y, vecf x) {
#if defined(__AVX512F__)
  _mm256_storeu_si256((__m256i *)y, _mm512_maskz_cvtps_ph(0xffff, (__m512)x, 0));
#elif defined(__F16C__) && defined(__AVX2__)
  _mm_storeu_si128((__m128i *)y, _mm256_cvtps_ph((__m256)x, 0));
#else
  float wide[kWidth];
  store(wide, x);
  RL_SIMD
  for (int i = 0; i < kWidth; i++) y[i] = f16_from_f32(wide[i]);
#endif
}

/// with_float for the ops that take f16 too.
template <class Body>
RL_INLINE void with_float_or_f16(int32_t dtype, Body &&body) {
  if (dtype == RL_F16) {
    body(f16{});
  } else {
    with_float(dtype, body);
  }
}

}  // namespace rl::cpu::RL_ISA
