// cacheK[slots[t], positions[t]] = k[t], cacheV likewise. No two rows name one place.
// Traffic: k and v read and written once, the minimum.
#include "cuda/elementwise.h"
#if !defined(RL_KERNELS)
#include "cuda/indices.h"
#endif

namespace rl::cuda {

#if defined(RL_KERNELS)

template <class T>
DEVICE void append(View cacheK, View cacheV, View k, View v, View slots, View positions) {
  constexpr int kRun = kRunOf<T>;
  const int64_t n = k.cols();
  const bool vectors = takes_runs<kRun, T>(cacheK) && takes_runs<kRun, T>(cacheV) && takes_runs<kRun, T>(k) &&
                       takes_runs<kRun, T>(v) && n % kRun == 0;
  for_each_run<kRun>(k, vectors, [&](int64_t t, int64_t c, auto width) {
    constexpr int kWidth = decltype(width)::value;
    const int64_t slot = index_at(slots.i32(), t, cacheK.shape[0]);
    const int64_t position = index_at(positions.i32(), t, cacheK.shape[1]);
    if (slot < 0 || position < 0) return;
    copy_run<kWidth>(cacheK.row<T>(slot) + position * n + c, k.row<T>(t) + c);
    copy_run<kWidth>(cacheV.row<T>(slot) + position * n + c, v.row<T>(t) + c);
  });
}

#define KV_APPEND(T)                                                                                         \
  KERNEL(kv_append_##T, kRunThreads, View cacheK, View cacheV, View k, View v, View slots, View positions) { \
    append<T>(cacheK, cacheV, k, v, slots, positions);                                                       \
  }
FOR_FLOATS(KV_APPEND)
KV_APPEND(f16)

#else

void kv_append(Device &device, View cacheK, View cacheV, View k, View v, View slots, View positions) {
  check_indices(gpu(device), "kv_append", "slots", slots, cacheK.shape[0]);
  check_indices(gpu(device), "kv_append", "positions", positions, cacheK.shape[1]);
  gpu(device).launch(kernel_name("kv_append", {k.dtype}), by_run(k, {k.dtype}), cacheK, cacheV, k, v, slots, positions);
}

#endif

}  // namespace rl::cuda
