// sum[c] += pieces[0,c] + pieces[1,c] + ...: the second half of a sum over rows, see column_sums.h. A block takes 32 columns: warp w
// adds up the pieces w, w + 8, ..., and the first warp the eight sums, in order.
#include "cuda/column_sums.h"

namespace rl::cuda {

#if defined(RL_KERNELS)

KERNEL(add_pieces, kSumColumns *kSumParts, View sum, const float *pieces, int64_t count) {
  SHARED(float, parts, [kSumParts * kSumColumns]);
  const int64_t columns = sum.elements(), c = static_cast<int64_t>(blockIdx.x) * kSumColumns + lane();
  float total = 0;
  if (c < columns) {
    for (int64_t p = warp(); p < count; p += kSumParts) total += pieces[p * columns + c];
  }
  parts[threadIdx.x] = total;
  __syncthreads();
  if (warp() != 0 || c >= columns) return;
  for (int i = 1; i < kSumParts; i++) total += parts[i * kSumColumns + lane()];
  sum.f32()[c] += total;
}

#endif

}  // namespace rl::cuda
