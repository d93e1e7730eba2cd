// cacheK[slots[t], positions[t]] = k[t], cacheV likewise.
#include "cpu/kernels/indices.h"

namespace rl::cpu::RL_ISA {

void kv_append(Device &, View cacheK, View cacheV, View k, View v, View slots, View positions) {
  check_indices("slots", slots, cacheK.shape[0]);
  check_indices("positions", positions, cacheK.shape[1]);
  const int64_t size = dtype_size(k.dtype), row = k.cols() * size;
  for (int64_t t = 0; t < k.rows(); t++) {
    const int64_t to_k = slots.i32()[t] * cacheK.row_stride() * size + positions.i32()[t] * row;
    const int64_t to_v = slots.i32()[t] * cacheV.row_stride() * size + positions.i32()[t] * row;
    __builtin_memcpy(cacheK.as<char>() + to_k, k.as<char>() + t * k.row_stride() * size, static_cast<size_t>(row));
    __builtin_memcpy(cacheV.as<char>() + to_v, v.as<char>() + t * v.row_stride() * size, static_cast<size_t>(row));
  }
}

}  // namespace rl::cpu::RL_ISA
