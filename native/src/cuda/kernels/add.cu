// y = a + b.  y (=), may be a or b itself: each element is read and written by one thread.
#include "cuda/op.h"

namespace rl::cuda {

constexpr int kThreads = 256;

#if defined(RL_KERNELS)

template <class Y, class A, class B>
DEVICE void add_elements(View y, View a, View b) {
  const int64_t c = thread_of_grid();
  if (c >= y.cols()) return;
  for (int64_t t = blockIdx.y; t < y.rows(); t += gridDim.y) {
    y.row<Y>(t)[c] = from_f32<Y>(to_f32(a.row<A>(t)[c]) + to_f32(b.row<B>(t)[c]));
  }
}

#define ADD(Y, A, B) \
  KERNEL(add_##Y##_##A##_##B, kThreads, View y, View a, View b) { add_elements<Y, A, B>(y, a, b); }
FOR_FLOATS_3(ADD)

#else

void add(Device &device, View y, View a, View b) {
  flatten_if_dense(y, a, b);
  gpu(device).launch(kernel_name("add", {y.dtype, a.dtype, b.dtype}), by_rows_and_columns(y, kThreads), y, a, b);
}

#endif

}  // namespace rl::cuda
