// y = factor * x.  y (=), may be x itself: each element is read and written by one thread. x is read once, y written once.
#include "cuda/op.h"

namespace rl::cuda {

constexpr int kThreads = 256;

#if defined(RL_KERNELS)

template <class Y, class X>
DEVICE void scale_elements(View y, View x, float factor) {
  const int64_t c = thread_of_grid();
  if (c >= y.cols()) return;
  for (int64_t t = blockIdx.y; t < y.rows(); t += gridDim.y) {
    y.row<Y>(t)[c] = from_f32<Y>(factor * to_f32(x.row<X>(t)[c]));
  }
}

#define SCALE(Y, X) \
  KERNEL(scale_##Y##_##X, kThreads, View y, View x, float factor) { scale_elements<Y, X>(y, x, factor); }
FOR_FLOATS_2(SCALE)

#else

void scale(Device &device, View y, View x, float factor) {
  flatten_if_dense(y, x);
  gpu(device).launch(kernel_name("scale", {y.dtype, x.dtype}), by_rows_and_columns(y, kThreads), y, x, factor);
}

#endif

}  // namespace rl::cuda
