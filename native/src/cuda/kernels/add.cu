// y = a + b.  y (=), may be a or b itself: each element is read and written by one thread.
// Traffic: a and b read once, y written once, the minimum.
#include "cuda/elementwise.h"

namespace rl::cuda {

#if defined(RL_KERNELS)

template <class Y, class A, class B>
DEVICE void add_elements(View y, View a, View b) {
  constexpr int kRun = kRunOf<Y, A, B>;
  const bool vectors = takes_runs<kRun, Y>(y) && takes_runs<kRun, A>(a) && takes_runs<kRun, B>(b);
  for_each_run<kRun>(y, vectors, [&](int64_t t, int64_t c, auto width) {
    constexpr int kWidth = decltype(width)::value;
    float sum[kWidth], other[kWidth];
    read_run(sum, a.row<A>(t) + c);
    read_run(other, b.row<B>(t) + c);
#pragma unroll
    for (int i = 0; i < kWidth; i++) sum[i] += other[i];
    write_run(y.row<Y>(t) + c, sum);
  });
}

#define ADD(Y, A, B) \
  KERNEL(add_##Y##_##A##_##B, kRunThreads, View y, View a, View b) { add_elements<Y, A, B>(y, a, b); }
FOR_FLOATS_3(ADD)

#else

void add(Device &device, View y, View a, View b) {
  flatten_if_dense(y, a, b);
  const auto dtypes = {y.dtype, a.dtype, b.dtype};
  gpu(device).launch(kernel_name("add", dtypes), by_run(y, dtypes), y, a, b);
}

#endif

}  // namespace rl::cuda
