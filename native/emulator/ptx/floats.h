// Numbers of 16 bits and roundings that C++ has not.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

#include "emulator/ptx/warp.h"

namespace rl::emulator::ptx {

inline float to_float(float x) { return x; }
inline float to_float(Bfloat x) { return std::bit_cast<float>(static_cast<uint32_t>(x.bits) << 16); }
inline float to_float(Half x) { return static_cast<float>(std::bit_cast<_Float16>(x.bits)); }

/// x to an integer, as asked.
inline double to_integral(double x, Rounding r) {
  switch (r) {
    case Rounding::zero:
      return std::trunc(x);
    case Rounding::down:
      return std::floor(x);
    case Rounding::up:
      return std::ceil(x);
    case Rounding::nearest_away:
      return std::round(x);
    default:
      return std::nearbyint(x);  // ties to even: nobody changes the mode
  }
}

/// x with `digits` binary digits, exponents from `least` on; beyond `most` infinity, or `most` where rounding goes towards it.
inline double rounded(double x, int digits, int least, double most, Rounding r) {
  if (x == 0 || !std::isfinite(x)) return x;
  const int exponent = std::max(std::ilogb(x), least) - (digits - 1);
  const double y = std::ldexp(to_integral(std::ldexp(x, -exponent), r), exponent);
  if (std::fabs(y) <= most) return std::copysign(y, x);
  const bool stays = r == Rounding::zero || (r == Rounding::down && x > 0) || (r == Rounding::up && x < 0);
  return std::copysign(stays ? most : std::numeric_limits<double>::infinity(), x);
}
template <class T>
T from_double(double x, Rounding r);
template <>
inline float from_double<float>(double x, Rounding r) {
  if (r == Rounding::nearest) return static_cast<float>(x);
  return static_cast<float>(rounded(x, 24, -126, std::numeric_limits<float>::max(), r));
}
template <>
inline double from_double<double>(double x, Rounding) {
  return x;
}
template <>
inline Half from_double<Half>(double x, Rounding r) {
  if (std::isnan(x)) return {0x7fff};
  return {std::bit_cast<uint16_t>(static_cast<_Float16>(rounded(x, 11, -14, 65504, r)))};
}
template <>
inline Bfloat from_double<Bfloat>(double x, Rounding r) {
  if (std::isnan(x)) return {0x7fff};
  const float y = static_cast<float>(rounded(x, 8, -126, 0x1.fep127, r));
  return {static_cast<uint16_t>(std::bit_cast<uint32_t>(y) >> 16)};
}
/// The way almost all numbers go, without a double.
template <class T>
T nearest_16_bits(float x) {
  if (std::isnan(x)) return {0x7fff};
  if constexpr (std::is_same_v<T, Half>) return {std::bit_cast<uint16_t>(static_cast<_Float16>(x))};
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  return {static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
}
inline float flushed(float x) { return std::fabs(x) < 0x1p-126f ? std::copysign(0.0f, x) : x; }

}  // namespace rl::emulator::ptx
