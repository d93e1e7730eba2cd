// y[t,c] = 0 where Philox drops (t,c), else x / (1 - p): dispatch/philox.h.  y (=)
// One call of Philox gives the words of four columns. Traffic: x read once, y written once, the minimum.
#include "cuda/elementwise.h"
#if defined(RL_KERNELS)
#include "cuda/dropout.h"
#endif

namespace rl::cuda {

#if defined(RL_KERNELS)

template <class Y, class X>
DEVICE void drop(View y, View x, const rl_dropout &dropout) {
  constexpr int kRun = kRunOf<Y, X>;  // 4 or 8
  for_each_run<kRun>(x, takes_runs<kRun, Y>(y) && takes_runs<kRun, X>(x), [&](int64_t t, int64_t c, auto width) {
    constexpr int kWidth = decltype(width)::value;
    float v[kWidth];
    read_run(v, x.row<X>(t) + c);
    if constexpr (kWidth == 1) {
      v[0] = dropped(v[0], kept_at(dropout, t, c));
    } else {
#pragma unroll
      for (int group = 0; group < kWidth / 4; group++) {
        const Kept factors = kept(dropout, t, c / 4 + group);
#pragma unroll
        for (int i = 0; i < 4; i++) v[4 * group + i] = dropped(v[4 * group + i], factors.factor[i]);
      }
    }
    write_run(y.row<Y>(t) + c, v);
  });
}

#define DROPOUT_APPLY(Y, X) \
  KERNEL(dropout_apply_##Y##_##X, kRunThreads, View y, View x, rl_dropout dropout) { drop<Y, X>(y, x, dropout); }
FOR_FLOATS_2(DROPOUT_APPLY)

#else

void dropout_apply(Device &device, View y, View x, const rl_dropout &dropout) {
  const auto dtypes = {y.dtype, x.dtype};
  gpu(device).launch(kernel_name("dropout_apply", dtypes), by_run(x, dtypes), y, x, dropout);
}

#endif

}  // namespace rl::cuda
