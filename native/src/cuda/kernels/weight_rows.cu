// y[t] = W[ids[t]]: weights lie row-major here, so these are embedding's kernels; in NF4 they are those of nf4.cu.
#include "cuda/elementwise.h"
#if !defined(RL_KERNELS)
#include "cuda/indices.h"

namespace rl::cuda {

void weight_rows(Device &device, View y, const Weight &weight, View ids) {
  check_indices(gpu(device), "weight_rows", "ids", ids, weight.n);
  if (const Nf4Matrix *four = cuda(weight).nf4()) {
    constexpr int threads = 256;
    gpu(device).launch(kernel_name("nf4_rows", {y.dtype}), by_row(y.rows(), threads), y, *four, ids);
    return;
  }
  const View w = matrix_of(weight);
  const auto dtypes = {y.dtype, w.dtype};
  gpu(device).launch(kernel_name("embedding", dtypes), by_run(y, dtypes), y, w, ids);
}

}  // namespace rl::cuda

#endif
