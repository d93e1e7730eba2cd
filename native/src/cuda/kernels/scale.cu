// y = factor * x.  y (=), may be x itself: each element is read and written by one thread.
// Traffic: x read once, y written once, the minimum.
#include "cuda/elementwise.h"

namespace rl::cuda {

#if defined(RL_KERNELS)

template <class Y, class X>
DEVICE void scale_elements(View y, View x, float factor) {
  constexpr int kRun = kRunOf<Y, X>;
  for_each_run<kRun>(y, takes_runs<kRun, Y>(y) && takes_runs<kRun, X>(x), [&](int64_t t, int64_t c, auto width) {
    constexpr int kWidth = decltype(width)::value;
    float v[kWidth];
    read_run(v, x.row<X>(t) + c);
#pragma unroll
    for (int i = 0; i < kWidth; i++) v[i] *= factor;
    write_run(y.row<Y>(t) + c, v);
  });
}

#define SCALE(Y, X) \
  KERNEL(scale_##Y##_##X, kRunThreads, View y, View x, float factor) { scale_elements<Y, X>(y, x, factor); }
FOR_FLOATS_2(SCALE)

#else

void scale(Device &device, View y, View x, float factor) {
  flatten_if_dense(y, x);
  const auto dtypes = {y.dtype, x.dtype};
  gpu(device).launch(kernel_name("scale", dtypes), by_run(y, dtypes), y, x, factor);
}

#endif

}  // namespace rl::cuda
