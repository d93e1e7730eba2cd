// Device code: what kernels share. Arithmetic is f32 whatever the storage.
#pragma once

#include <type_traits>

#include "cuda/primitives.h"

namespace rl::cuda {

using f32 = float;
using bf16 = __nv_bfloat16;
using f16 = __half;

/// f32 in memory, whose factors are rounded to TF32 for tensor cores.
struct tf32 {
  float value;
  tf32() = default;
  DEVICE_MEMBER tf32(float value) : value(value) {}
};

DEVICE float to_f32(float x) { return x; }
DEVICE float to_f32(bf16 x) { return __bfloat162float(x); }
DEVICE float to_f32(f16 x) { return __half2float(x); }

template <class T>
DEVICE T from_f32(float x) {
  if constexpr (sizeof(T) == sizeof(float)) {
    return x;
  } else if constexpr (std::is_same_v<T, bf16>) {
    return __float2bfloat16_rn(x);
  } else {
    return __float2half_rn(x);
  }
}

/// Two numbers, rounded to T of 16 bits, as a fragment's register holds them.
template <class T>
DEVICE uint32_t pack(float low, float high) {
  if constexpr (std::is_same_v<T, bf16>) {
    return pack_bf16(low, high);
  } else {
    static_assert(std::is_same_v<T, f16>);
    return pack_f16(low, high);
  }
}

DEVICE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
DEVICE int lane() { return static_cast<int>(threadIdx.x) % 32; }
DEVICE int warp() { return static_cast<int>(threadIdx.x) / 32; }
/// This thread's number in a grid along x.
DEVICE int64_t thread_of_grid() { return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; }

/// Sum over the block, in an order that depends on nothing but its size; every thread gets it. T: float or double.
template <class T>
DEVICE T block_sum(T x) {
  SHARED(T, parts, [32]);
  for (int step = 16; step > 0; step /= 2) x += __shfl_xor_sync(kFullWarp, x, step);
  __syncthreads();  // parts may be in use from a sum before
  if (lane() == 0) parts[warp()] = x;
  __syncthreads();
  T sum = 0;
  for (int i = 0; i < static_cast<int>(blockDim.x) / 32; i++) sum += parts[i];
  return sum;
}

/// values[i] if it lies in [0, limit), else -1: indices.h has reported it, and the row is to be left out.
DEVICE int64_t index_at(const int32_t *values, int64_t i, int64_t limit) {
  const int32_t value = values[i];
  return value >= 0 && value < limit ? value : -1;
}

/// Rows cu[b] .. cu[b+1] of sequence b, clamped to [0, total) so that they can be followed whatever they are.
struct Span {
  int64_t begin, end;
};
DEVICE int64_t clamp_index(int64_t x, int64_t limit) { return x < 0 ? 0 : x > limit ? limit : x; }
DEVICE Span span(const int32_t *cu, int64_t b, int64_t total) {
  const int64_t begin = clamp_index(cu[b], total), end = clamp_index(cu[b + 1], total);
  return {begin, end < begin ? begin : end};
}

}  // namespace rl::cuda

/// Expands ENTRY(a, b, ...) for every choice of f32 and bf16.
#define FOR_FLOATS(ENTRY) ENTRY(f32) ENTRY(bf16)
#define FOR_FLOATS_2(ENTRY) ENTRY(f32, f32) ENTRY(f32, bf16) ENTRY(bf16, f32) ENTRY(bf16, bf16)
#define FOR_FLOATS_3(ENTRY) \
  ENTRY(f32, f32, f32)      \
  ENTRY(f32, f32, bf16)     \
  ENTRY(f32, bf16, f32)     \
  ENTRY(f32, bf16, bf16) ENTRY(bf16, f32, f32) ENTRY(bf16, f32, bf16) ENTRY(bf16, bf16, f32) ENTRY(bf16, bf16, bf16)
