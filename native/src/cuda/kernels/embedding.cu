// y[t] = w[ids[t]]  (=);  gradW[ids[t]] += gradY[t], in order of t.
// Backward: the block of the first row with an id adds up all rows with it; the others end at once. No atomics.
// Traffic: forward the minimum, each row of w that is asked for read once, y written once; backward gradY read once, gradW read and
// written once where an id is, and the ids before a row for each row.
#include "cuda/elementwise.h"
#if defined(RL_KERNELS)
#include "cuda/matching_rows.h"
#else
#include "cuda/indices.h"
#endif

namespace rl::cuda {

constexpr int kThreads = 128;

#if defined(RL_KERNELS)

template <class Y, class W>
DEVICE void pick_rows(View y, View w, View ids) {
  constexpr int kRun = kRunOf<Y, W>;
  for_each_run<kRun>(y, takes_runs<kRun, Y>(y) && takes_runs<kRun, W>(w), [&](int64_t t, int64_t c, auto width) {
    const int64_t id = index_at(ids.i32(), t, w.rows());
    if (id < 0) return;
    float v[decltype(width)::value];
    read_run(v, w.row<W>(id) + c);
    write_run(y.row<Y>(t) + c, v);
  });
}

template <class G>
DEVICE void add_rows(View gradW, View gradY, View ids) {
  constexpr int kRun = kRunOf<float, G>;
  const int64_t t = blockIdx.x, column = (static_cast<int64_t>(blockIdx.y) * blockDim.x + threadIdx.x) * kRun;
  const int64_t id = index_at(ids.i32(), t, gradW.rows()), left = gradW.cols() - column;
  if (id < 0) return;
  int earlier = 0;
  for (int64_t m = threadIdx.x; m < t; m += blockDim.x) earlier |= ids.i32()[m] == id;
  if (block_sum(static_cast<float>(earlier)) > 0) return;  // the same for the whole block
  const bool runs = takes_runs<kRun, float>(gradW) && takes_runs<kRun, G>(gradY);
  float sum[kRun] = {};
  if (left > 0) read_part(sum, gradW.row<float>(id) + column, left, runs);
  for_matching_rows(ids.i32(), t, gradY.rows(), id, [&](int64_t m) {
    if (left <= 0) return;
    float v[kRun];
    read_part(v, gradY.row<G>(m) + column, left, runs);
#pragma unroll
    for (int i = 0; i < kRun; i++) sum[i] += v[i];
  });
  if (left > 0) write_part(gradW.row<float>(id) + column, sum, left, runs);
}

#define EMBEDDING(Y, W) \
  KERNEL(embedding_##Y##_##W, kRunThreads, View y, View w, View ids) { pick_rows<Y, W>(y, w, ids); }
FOR_FLOATS_2(EMBEDDING)
#define EMBEDDING_BACKWARD(G) \
  KERNEL(embedding_backward_##G, kThreads, View gradW, View gradY, View ids) { add_rows<G>(gradW, gradY, ids); }
FOR_FLOATS(EMBEDDING_BACKWARD)

#else

void embedding(Device &device, View y, View w, View ids) {
  check_indices(gpu(device), "embedding", "ids", ids, w.rows());
  const auto dtypes = {y.dtype, w.dtype};
  gpu(device).launch(kernel_name("embedding", dtypes), by_run(y, dtypes), y, w, ids);
}

void embedding_backward(Device &device, View gradW, View gradY, View ids) {
  check_indices(gpu(device), "embedding_backward", "ids", ids, gradW.rows());
  const int64_t runs = ceil_div(gradW.cols(), run_length({RL_F32, gradY.dtype}));
  const Grid grid{gradY.rows(), ceil_div(runs, kThreads), kThreads};
  gpu(device).launch(kernel_name("embedding_backward", {gradY.dtype}), grid, gradW, gradY, ids);
}

#endif

}  // namespace rl::cuda
