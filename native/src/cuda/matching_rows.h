// Sums over the rows whose index is a given one, in their order, so that no atomic is needed and bits do not vary.
#pragma once

#include "cuda/device_code.h"

namespace rl::cuda {

/// Calls add(m) for each m in [from, count) with index[m] = wanted, ascending. The whole block must call; every thread gets
/// every m.
template <class Add>
DEVICE void for_matching_rows(const int32_t *index, int64_t from, int64_t count, int64_t wanted, Add &&add) {
  SHARED(unsigned, matches, [32]);
  for (int64_t base = from; base < count; base += blockDim.x) {
    const int64_t m = base + threadIdx.x;
    const unsigned votes = __ballot_sync(kFullWarp, m < count && index[m] == wanted);
    __syncthreads();  // the votes before are read
    if (lane() == 0) matches[warp()] = votes;
    __syncthreads();
    for (int w = 0; w < static_cast<int>(blockDim.x) / 32; w++) {
      for (unsigned left = matches[w]; left; left &= left - 1) add(base + w * 32 + __ffs(static_cast<int>(left)) - 1);
    }
  }
}

}  // namespace rl::cuda
