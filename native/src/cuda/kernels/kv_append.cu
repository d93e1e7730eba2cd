// cacheK[slots[t], positions[t]] = k[t], cacheV likewise. A block for each row; no two rows name one place.
#include "cuda/op.h"
#if !defined(RL_KERNELS)
#include "cuda/indices.h"
#endif

namespace rl::cuda {

constexpr int kThreads = 128;

#if defined(RL_KERNELS)

template <class T>
DEVICE void append(View cacheK, View cacheV, View k, View v, View slots, View positions) {
  const int64_t t = blockIdx.x, n = k.cols();
  const int64_t slot = index_at(slots.i32(), t, cacheK.shape[0]),
                position = index_at(positions.i32(), t, cacheK.shape[1]);
  if (slot < 0 || position < 0) return;
  T *to_k = cacheK.row<T>(slot) + position * n, *to_v = cacheV.row<T>(slot) + position * n;
  for (int64_t i = threadIdx.x; i < n; i += blockDim.x) {
    to_k[i] = k.row<T>(t)[i];
    to_v[i] = v.row<T>(t)[i];
  }
}

#define KV_APPEND(T)                                                                                      \
  KERNEL(kv_append_##T, kThreads, View cacheK, View cacheV, View k, View v, View slots, View positions) { \
    append<T>(cacheK, cacheV, k, v, slots, positions);                                                    \
  }
FOR_FLOATS(KV_APPEND)

#else

void kv_append(Device &device, View cacheK, View cacheV, View k, View v, View slots, View positions) {
  check_indices(gpu(device), "kv_append", "slots", slots, cacheK.shape[0]);
  check_indices(gpu(device), "kv_append", "positions", positions, cacheK.shape[1]);
  gpu(device).launch(kernel_name("kv_append", {k.dtype}), by_row(k.rows(), kThreads), cacheK, cacheV, k, v, slots,
                     positions);
}

#endif

}  // namespace rl::cuda
