// y[t] = w[ids[t]]  (=);  gradW[ids[t]] += gradY[t], in order of t.
// Backward: the block of the first row with an id adds up all rows with it; the others end at once. No atomics.
#include "cuda/op.h"
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
  const int64_t t = blockIdx.x, id = index_at(ids.i32(), t, w.rows());
  if (id < 0) return;
  for (int64_t i = threadIdx.x; i < y.cols(); i += blockDim.x) y.row<Y>(t)[i] = from_f32<Y>(to_f32(w.row<W>(id)[i]));
}

template <class G>
DEVICE void add_rows(View gradW, View gradY, View ids) {
  const int64_t t = blockIdx.x, column = static_cast<int64_t>(blockIdx.y) * blockDim.x + threadIdx.x;
  const int64_t id = index_at(ids.i32(), t, gradW.rows());
  if (id < 0) return;
  int earlier = 0;
  for (int64_t m = threadIdx.x; m < t; m += blockDim.x) earlier |= ids.i32()[m] == id;
  if (block_sum(static_cast<float>(earlier)) > 0) return;  // the same for the whole block
  const bool mine = column < gradW.cols();
  float sum = mine ? gradW.row<float>(id)[column] : 0.0f;
  for_matching_rows(ids.i32(), t, gradY.rows(), id, [&](int64_t m) {
    if (mine) sum += to_f32(gradY.row<G>(m)[column]);
  });
  if (mine) gradW.row<float>(id)[column] = sum;
}

#define EMBEDDING(Y, W) \
  KERNEL(embedding_##Y##_##W, kThreads, View y, View w, View ids) { pick_rows<Y, W>(y, w, ids); }
FOR_FLOATS_2(EMBEDDING)
#define EMBEDDING_BACKWARD(G) \
  KERNEL(embedding_backward_##G, kThreads, View gradW, View gradY, View ids) { add_rows<G>(gradW, gradY, ids); }
FOR_FLOATS(EMBEDDING_BACKWARD)

#else

void embedding(Device &device, View y, View w, View ids) {
  check_indices(gpu(device), "embedding", "ids", ids, w.rows());
  gpu(device).launch(kernel_name("embedding", {y.dtype, w.dtype}), by_row(y.rows(), kThreads), y, w, ids);
}

void embedding_backward(Device &device, View gradW, View gradY, View ids) {
  check_indices(gpu(device), "embedding_backward", "ids", ids, gradW.rows());
  const Grid grid{gradY.rows(), ceil_div(gradW.cols(), kThreads), kThreads};
  gpu(device).launch(kernel_name("embedding_backward", {gradY.dtype}), grid, gradW, gradY, ids);
}

#endif

}  // namespace rl::cuda
