// NF4's codes and what its kernels share.
#pragma once

#include "cpu/cpu_nf4.h"
#include "cpu/kernels/tile.h"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace rl::cpu::RL_ISA {

/// Quantiles of the normal distribution, 0 and +-1 among them (Dettmers et al. 2023, appendix E).
alignas(64) constexpr float kNf4Codes[16] = {
    -1.0f,
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
    1.0f,
};

/// The codes named by the lowest four bits of each lane; the others are ignored.
RL_INLINE vecf nf4_codes(vecu index) {
#if defined(__AVX512F__)
  // With a mask of all: GCC 12 warns of its own header otherwise.
  return reinterpret_cast<vecf>(
      _mm512_maskz_permutexvar_ps(0xffff, reinterpret_cast<__m512i>(index), _mm512_load_ps(kNf4Codes)));
#elif defined(__AVX2__)
  const __m256i i = reinterpret_cast<__m256i>(index);
  const __m256 low = _mm256_permutevar8x32_ps(_mm256_load_ps(kNf4Codes), i);
  const __m256 high = _mm256_permutevar8x32_ps(_mm256_load_ps(kNf4Codes + 8), i);
  return reinterpret_cast<vecf>(_mm256_blendv_ps(low, high, _mm256_castsi256_ps(_mm256_slli_epi32(i, 28))));
#else
  vecf y;
  for (int i = 0; i < kWidth; i++) y[i] = kNf4Codes[index[i] & 15u];
  return y;
#endif
}

}  // namespace rl::cpu::RL_ISA
