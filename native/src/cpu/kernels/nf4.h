// What the kernels of NF4 share.
#pragma once

#include "cpu/cpu_nf4.h"
#include "cpu/kernels/tile.h"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace rl::cpu::RL_ISA {

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
