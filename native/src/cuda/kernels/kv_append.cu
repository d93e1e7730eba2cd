// cacheK[slots[t], positions[t]] = k[t], cacheV likewise. A block for each row; no two rows name one place.
// Traffic: k and v read and written once, the minimum, 16 bytes at a time where both sides are aligned.
#include "cuda/op.h"
#if !defined(RL_KERNELS)
#include "cuda/indices.h"
#endif

namespace rl::cuda {

constexpr int kThreads = 128;

#if defined(RL_KERNELS)

/// By the whole block.
template <class T>
DEVICE void copy_row(T *to, const T *from, int64_t n) {
  constexpr int64_t kVector = 16 / sizeof(T);
  const bool aligned = (reinterpret_cast<uintptr_t>(to) | reinterpret_cast<uintptr_t>(from)) % 16 == 0;
  const int64_t vectors = aligned ? n / kVector : 0;
  for (int64_t i = threadIdx.x; i < vectors; i += blockDim.x) {
    store_vector(reinterpret_cast<uint4 *>(to) + i, load_vector(reinterpret_cast<const uint4 *>(from) + i));
  }
  for (int64_t i = vectors * kVector + threadIdx.x; i < n; i += blockDim.x) to[i] = from[i];
}

template <class T>
DEVICE void append(View cacheK, View cacheV, View k, View v, View slots, View positions) {
  const int64_t t = blockIdx.x, n = k.cols();
  const int64_t slot = index_at(slots.i32(), t, cacheK.shape[0]),
                position = index_at(positions.i32(), t, cacheK.shape[1]);
  if (slot < 0 || position < 0) return;
  copy_row(cacheK.row<T>(slot) + position * n, k.row<T>(t), n);
  copy_row(cacheV.row<T>(slot) + position * n, v.row<T>(t), n);
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
