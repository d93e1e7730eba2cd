// y[m] = x[index[m]]  (=)
// gradX[t] = sum of gradY[m] over index[m] = t, in order of m, in f32.  (=)
#include "cuda/op.h"
#if defined(RL_KERNELS)
#include "cuda/matching_rows.h"
#else
#include "cuda/indices.h"
#endif

namespace rl::cuda {

constexpr int kThreads = 128;

#if defined(RL_KERNELS)

template <class T>
DEVICE void gather(View y, View x, View index) {
  const int64_t m = blockIdx.x, from = index_at(index.i32(), m, x.rows());
  if (from < 0) return;
  for (int64_t i = threadIdx.x; i < y.cols(); i += blockDim.x) y.row<T>(m)[i] = x.row<T>(from)[i];
}

template <class T>
DEVICE void scatter(View gradX, View gradY, View index) {
  const int64_t t = blockIdx.x, column = static_cast<int64_t>(blockIdx.y) * blockDim.x + threadIdx.x;
  const bool mine = column < gradX.cols();
  float sum = 0;
  for_matching_rows(index.i32(), 0, gradY.rows(), t, [&](int64_t m) {
    if (mine) sum += to_f32(gradY.row<T>(m)[column]);
  });
  if (mine) gradX.row<T>(t)[column] = from_f32<T>(sum);
}

#define GATHER_ROWS(T)                                                                      \
  KERNEL(gather_rows_##T, kThreads, View y, View x, View index) { gather<T>(y, x, index); } \
  KERNEL(gather_rows_backward_##T, kThreads, View gradX, View gradY, View index) { scatter<T>(gradX, gradY, index); }
FOR_FLOATS(GATHER_ROWS)

#else

void gather_rows(Device &device, View y, View x, View index) {
  check_indices(gpu(device), "gather_rows", "index", index, x.rows());
  gpu(device).launch(kernel_name("gather_rows", {y.dtype}), by_row(y.rows(), kThreads), y, x, index);
}

void gather_rows_backward(Device &device, View gradX, View gradY, View index) {
  check_indices(gpu(device), "gather_rows_backward", "index", index, gradX.rows());
  const Grid grid{gradX.rows(), ceil_div(gradX.cols(), kThreads), kThreads};
  gpu(device).launch(kernel_name("gather_rows_backward", {gradX.dtype}), grid, gradX, gradY, index);
}

#endif

}  // namespace rl::cuda
