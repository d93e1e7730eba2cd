// sum[c] += pieces[0,c] + pieces[1,c] + ...: the second half of a sum over rows, see column_sums.h.
#include "cuda/column_sums.h"
#include "cuda/op.h"

namespace rl::cuda {

#if defined(RL_KERNELS)

KERNEL(add_pieces, kColumnThreads, View sum, const float *pieces, int64_t count) {
  const int64_t c = thread_of_grid(), columns = sum.elements();
  if (c >= columns) return;
  float total = 0;
  for (int64_t p = 0; p < count; p++) total += pieces[p * columns + c];
  sum.f32()[c] += total;
}

#endif

}  // namespace rl::cuda
