// y[m] = x[index[m]]  (=)
// gradX[t] = sum of gradY[m] over index[m] = t, in order of m, in f32.  (=)
// Traffic: forward the minimum, the rows asked for read once, y written once; backward gradY read once, gradX written once, and the
// index for each row.
#include "cuda/elementwise.h"
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
  constexpr int kRun = kRunOf<T>;
  for_each_run<kRun>(y, takes_runs<kRun, T>(y) && takes_runs<kRun, T>(x), [&](int64_t m, int64_t c, auto width) {
    const int64_t from = index_at(index.i32(), m, x.rows());
    if (from < 0) return;
    copy_run<decltype(width)::value>(y.row<T>(m) + c, x.row<T>(from) + c);
  });
}

template <class T>
DEVICE void scatter(View gradX, View gradY, View index) {
  constexpr int kRun = kRunOf<T>;
  const int64_t t = blockIdx.x, column = (static_cast<int64_t>(blockIdx.y) * blockDim.x + threadIdx.x) * kRun;
  const int64_t left = gradX.cols() - column;
  const bool runs = takes_runs<kRun, T>(gradX) && takes_runs<kRun, T>(gradY);
  float sum[kRun] = {};
  for_matching_rows(index.i32(), 0, gradY.rows(), t, [&](int64_t m) {
    if (left <= 0) return;
    float v[kRun];
    read_part(v, gradY.row<T>(m) + column, left, runs);
#pragma unroll
    for (int i = 0; i < kRun; i++) sum[i] += v[i];
  });
  if (left > 0) write_part(gradX.row<T>(t) + column, sum, left, runs);
}

#define GATHER_ROWS(T)                                                                         \
  KERNEL(gather_rows_##T, kRunThreads, View y, View x, View index) { gather<T>(y, x, index); } \
  KERNEL(gather_rows_backward_##T, kThreads, View gradX, View gradY, View index) { scatter<T>(gradX, gradY, index); }
FOR_FLOATS(GATHER_ROWS)

#else

void gather_rows(Device &device, View y, View x, View index) {
  check_indices(gpu(device), "gather_rows", "index", index, x.rows());
  gpu(device).launch(kernel_name("gather_rows", {y.dtype}), by_run(y, {y.dtype}), y, x, index);
}

void gather_rows_backward(Device &device, View gradX, View gradY, View index) {
  check_indices(gpu(device), "gather_rows_backward", "index", index, gradX.rows());
  const int64_t runs = ceil_div(gradX.cols(), run_length({gradX.dtype}));
  const Grid grid{gradX.rows(), ceil_div(runs, kThreads), kThreads};
  gpu(device).launch(kernel_name("gather_rows_backward", {gradX.dtype}), grid, gradX, gradY, index);
}

#endif

}  // namespace rl::cuda
