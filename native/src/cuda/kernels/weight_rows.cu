// y[t] = W[ids[t]]: weights lie row-major here, so these are embedding's kernels.
#include "cuda/op.h"
#if !defined(RL_KERNELS)
#include "cuda/indices.h"

namespace rl::cuda {

void weight_rows(Device &device, View y, const Weight &weight, View ids) {
  const View &w = matrix_of(weight);
  constexpr int threads = 128;
  check_indices(gpu(device), "weight_rows", "ids", ids, w.rows());
  gpu(device).launch(kernel_name("embedding", {y.dtype, w.dtype}), by_row(y.rows(), threads), y, w, ids);
}

}  // namespace rl::cuda

#endif
