// y[t,c] = 0 where Philox drops (t,c), else x / (1 - p): dispatch/philox.h.  y (=)
// A thread for four columns: one call of Philox gives their four words.
#include "cuda/op.h"
#if defined(RL_KERNELS)
#include "cuda/dropout.h"
#endif

namespace rl::cuda {

constexpr int kThreads = 128;

#if defined(RL_KERNELS)

template <class Y, class X>
DEVICE void drop(View y, View x, const rl_dropout &dropout) {
  const int64_t group = thread_of_grid(), n = x.cols();
  if (group * 4 >= n) return;
  for (int64_t t = blockIdx.y; t < x.rows(); t += gridDim.y) {
    const Kept factors = kept(dropout, t, group);
#pragma unroll
    for (int i = 0; i < 4; i++) {
      const int64_t c = group * 4 + i;
      if (c < n) y.row<Y>(t)[c] = from_f32<Y>(dropped(to_f32(x.row<X>(t)[c]), factors.factor[i]));
    }
  }
}

#define DROPOUT_APPLY(Y, X) \
  KERNEL(dropout_apply_##Y##_##X, kThreads, View y, View x, rl_dropout dropout) { drop<Y, X>(y, x, dropout); }
FOR_FLOATS_2(DROPOUT_APPLY)

#else

void dropout_apply(Device &device, View y, View x, const rl_dropout &dropout) {
  const Grid grid{ceil_div(ceil_div(x.cols(), 4), kThreads), smaller(x.rows(), 65535), kThreads};
  gpu(device).launch(kernel_name("dropout_apply", {y.dtype, x.dtype}), grid, y, x, dropout);
}

#endif

}  // namespace rl::cuda
