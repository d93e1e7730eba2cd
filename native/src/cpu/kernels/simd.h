// Small pieces that kernels share, written so that the compiler vectorises them for the instruction set at hand.
#pragma once

#include <cstdint>
#include <cstring>

#include "rlhf4j.h"

namespace rl::cpu::RL_ISA {

#define RL_INLINE inline __attribute__((always_inline))
#define RL_SIMD _Pragma("omp simd")

struct bf16 {
  uint16_t bits;
};

RL_INLINE float to_f32(float x) { return x; }
RL_INLINE float to_f32(bf16 x) {
  const uint32_t bits = static_cast<uint32_t>(x.bits) << 16;
  float y;
  std::memcpy(&y, &bits, 4);
  return y;
}

template <class T>
RL_INLINE T from_f32(float x);
template <>
RL_INLINE float from_f32<float>(float x) {
  return x;
}
/// Round to nearest even; NaN stays NaN.
template <>
RL_INLINE bf16 from_f32<bf16>(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const uint32_t nan = (bits >> 16) | 0x40u;
  return bf16{static_cast<uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? nan : rounded)};
}

/// e^x within about 2 units in the last place, branch-free; 0 below -87.3, infinity above 88.7. NaN stays NaN.
RL_INLINE float exp_f32(float x) {
  const float lo = -87.33654f, hi = 88.72283f;
  float c = x < lo ? lo : x;
  c = c > hi ? hi : c;
  const float shifted = c * 1.44269504f + 12582912.0f;  // rounds to the nearest integer in the low mantissa bits
  int32_t k;
  std::memcpy(&k, &shifted, 4);
  k -= 0x4b400000;
  const float n = shifted - 12582912.0f;
  float r = c - n * 0.693359375f;
  r = r + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  // In two steps, so that k = 128 (just below the overflow) works.
  const int32_t half = k >> 1;
  const int32_t bits1 = (half + 127) << 23, bits2 = (k - half + 127) << 23;
  float s1, s2;
  std::memcpy(&s1, &bits1, 4);
  std::memcpy(&s2, &bits2, 4);
  float y = p * s1 * s2;
  y = x < lo ? 0.0f : y;
  y = x > hi ? __builtin_inff() : y;
  return x != x ? x : y;
}

RL_INLINE float sigmoid_f32(float x) { return 1.0f / (1.0f + exp_f32(-x)); }

/// Calls body(T{}) with the element type of a floating dtype.
template <class Body>
RL_INLINE void with_float(int32_t dtype, Body &&body) {
  if (dtype == RL_BF16) {
    body(bf16{});
  } else {
    body(float{});
  }
}

}  // namespace rl::cpu::RL_ISA
