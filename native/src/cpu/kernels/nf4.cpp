// NF4, block by block of 64 values of the flattened matrix, in bitsandbytes' own order of operations:
//   absmax = max |w|;  code = the number of midpoints between codes that are below w / absmax (w * (1 / absmax) in whole blocks).
// Doubly: offset = mean absmax; in blocks of 256, nestedAbsmax = max |absmax - offset|, and the quotient, rounded to a grid of
// 2^16 steps in [-1,1], takes the nestedCode that is nearest, the lower of two.
// All (=).
#include "cpu/kernels/nf4.h"

#include <omp.h>

#include "cpu/kernels/kernels.h"

namespace rl::cpu::RL_ISA {
namespace {

constexpr int64_t kBlocksAtOnce = 256;

RL_INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

/// The largest |x|; NaN if any is, since the bits of a NaN's magnitude are above infinity's.
RL_INLINE float largest_magnitude(const float *x, int64_t n) {
  int32_t largest = 0;
#pragma omp simd reduction(max : largest)
  for (int64_t i = 0; i < n; i++) {
    int32_t bits;
    __builtin_memcpy(&bits, x + i, 4);
    bits &= 0x7fffffff;
    largest = bits > largest ? bits : largest;
  }
  float y;
  __builtin_memcpy(&y, &largest, 4);
  return y;
}

/// The codes of a block's quotients, two a byte.
RL_INLINE void encode(uint8_t *codes, const float *x) {
  float bounds[15];
  for (int j = 0; j < 15; j++) bounds[j] = (kNf4Codes[j] + kNf4Codes[j + 1]) / 2;
  uint8_t nearest[kNf4Block];
  RL_SIMD
  for (int64_t i = 0; i < kNf4Block; i++) {
    int32_t below = 0;
#pragma GCC unroll 15
    for (int j = 0; j < 15; j++) below += !(x[i] <= bounds[j]);  // NaN: 15, as torch.bucketize has it
    nearest[i] = static_cast<uint8_t>(below);
  }
  RL_SIMD
  for (int64_t i = 0; i < kNf4Block / 2; i++) codes[i] = static_cast<uint8_t>(nearest[2 * i] << 4 | nearest[2 * i + 1]);
}

template <class T>
RL_INLINE float quantize_block(uint8_t *codes, const T *w) {
  float x[kNf4Block];
  RL_SIMD
  for (int64_t i = 0; i < kNf4Block; i++) x[i] = to_f32(w[i]);
  const float absmax = largest_magnitude(x, kNf4Block),
              factor = 1 / (absmax < kNf4LeastAbsmax ? kNf4LeastAbsmax : absmax);
  RL_SIMD
  for (int64_t i = 0; i < kNf4Block; i++) x[i] *= factor;
  encode(codes, x);
  return absmax;
}

/// The last block, of n < 64 values. bitsandbytes divides here, and zeros have kNf4LeastAbsmax for their absmax.
template <class T>
float quantize_rest(uint8_t *codes, const T *w, int64_t n) {
  float x[kNf4Block] = {};
  for (int64_t i = 0; i < n; i++) x[i] = to_f32(w[i]);
  float absmax = largest_magnitude(x, n);
  absmax = absmax < kNf4LeastAbsmax ? kNf4LeastAbsmax : absmax;
  for (int64_t i = 0; i < n; i++) x[i] /= absmax;
  uint8_t all[kNf4Block / 2];
  encode(all, x);
  __builtin_memcpy(codes, all, static_cast<size_t>(n + 1) / 2);
  return absmax;
}

/// Quantises absmax itself, block by block.
void quantize_absmax(CpuDevice &device, const Nf4 &y, const float *absmax) {
  const int64_t blocks = y.absmax.elements(), nested = y.nestedAbsmax.elements();
  double sum = 0;
  for (int64_t b = 0; b < blocks; b++) sum += static_cast<double>(absmax[b]);
  const float mean = static_cast<float>(sum / static_cast<double>(blocks));
  const float *code = y.nestedCode.f32();
  *y.offset.f32() = mean;
#pragma omp parallel for schedule(static) num_threads(device.threads()) if (blocks > 16384)
  for (int64_t i = 0; i < nested; i++) {
    const int64_t from = i * kNf4NestedBlock, n = smaller(kNf4NestedBlock, blocks - from);
    uint8_t *out = y.absmax.as<uint8_t>() + from;
    float x[kNf4NestedBlock];
    RL_SIMD
    for (int64_t j = 0; j < n; j++) x[j] = absmax[from + j] - mean;
    const float largest = largest_magnitude(x, n);
    y.nestedAbsmax.f32()[i] = largest;
    if (largest == 0) {
      __builtin_memset(out, 0, static_cast<size_t>(n));
      continue;
    }
    const float factor = 1 / largest;
    for (int64_t j = 0; j < n; j++) {
      const float quotient = x[j] * factor, inside = quotient > 1 ? 1 : quotient < -1 ? -1 : quotient;
      // In double, so that it is one code with and without fused multiply-add; NaN gives 0.
      const float half = (inside + 1) * 0.5f;
      const float scaled = static_cast<float>(static_cast<double>(half) * 65535 + 0.5);
      const int32_t step = scaled >= 65535 ? 65535 : scaled > 0 ? static_cast<int32_t>(scaled) : 0;
      const float value = 2.0f * static_cast<float>(step) / 65535 - 1;
      int32_t index = 0;  // how many midpoints are below value
      for (int32_t half_range = 128; half_range > 0; half_range /= 2) {
        const int32_t at = index + half_range;
        if (0.5f * (code[at - 1] + code[at]) < value) index = at;
      }
      out[j] = static_cast<uint8_t>(index);
    }
  }
}

template <class T>
RL_INLINE void dequantize_block(T *w, const uint8_t *codes, int64_t n, float scale) {
  uint32_t index[kNf4Block];
  RL_SIMD
  for (int64_t i = 0; i < kNf4Block / 2; i++) {
    const uint32_t byte = codes[i < (n + 1) / 2 ? i : 0];
    index[2 * i] = byte >> 4;
    index[2 * i + 1] = byte & 15u;
  }
  for_row(
      w, n,
      [&](int64_t i) {
        return nf4_codes(reinterpret_cast<vecu>(load(reinterpret_cast<int32_t *>(index) + i))) * scale;
      },
      [&](int64_t i) { return kNf4Codes[index[i]] * scale; });
}

}  // namespace

void nf4_quantize(Device &device, const Nf4 &y, View w) {
  const int64_t values = w.elements(), blocks = y.absmax.elements(),
                tasks = (blocks + kBlocksAtOnce - 1) / kBlocksAtOnce;
  const bool doubled = y.absmax.dtype == RL_U8;
  float *absmax = doubled ? cpu(device).scratch<float>(blocks) : y.absmax.f32();
  uint8_t *codes = y.codes.as<uint8_t>();
  with_float(w.dtype, [&](auto type) {
    using T = decltype(type);
    const T *in = w.as<T>();
#pragma omp parallel for schedule(static) num_threads(cpu(device).threads()) if (tasks > 1)
    for (int64_t task = 0; task < tasks; task++) {
      const int64_t end = smaller((task + 1) * kBlocksAtOnce, blocks);
      for (int64_t b = task * kBlocksAtOnce; b < end; b++) {
        const int64_t from = b * kNf4Block;
        absmax[b] = values - from < kNf4Block ? quantize_rest(codes + from / 2, in + from, values - from)
                                              : quantize_block(codes + from / 2, in + from);
      }
    }
  });
  if (doubled) quantize_absmax(cpu(device), y, absmax);
}

void nf4_dequantize(Device &device, View w, const Nf4 &x) {
  const int64_t values = w.elements(), blocks = x.absmax.elements(),
                tasks = (blocks + kBlocksAtOnce - 1) / kBlocksAtOnce;
  const bool doubled = x.absmax.dtype == RL_U8;
  const uint8_t *codes = x.codes.as<uint8_t>();
  with_float(w.dtype, [&](auto type) {
    using T = decltype(type);
    T *out = w.as<T>();
#pragma omp parallel for schedule(static) num_threads(cpu(device).threads()) if (tasks > 1)
    for (int64_t task = 0; task < tasks; task++) {
      const int64_t end = smaller((task + 1) * kBlocksAtOnce, blocks);
      for (int64_t b = task * kBlocksAtOnce; b < end; b++) {
        const int64_t from = b * kNf4Block;
        const float scale =
            doubled ? x.nestedCode.f32()[x.absmax.as<uint8_t>()[b]] * x.nestedAbsmax.f32()[b / kNf4NestedBlock] +
                          *x.offset.f32()
                    : x.absmax.f32()[b];
        dequantize_block(out + from, codes + from / 2, smaller(kNf4Block, values - from), scale);
      }
    }
  });
}

}  // namespace rl::cpu::RL_ISA
