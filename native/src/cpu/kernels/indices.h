// Checks of what lies in index tensors: before a kernel follows it, so that no value can reach outside a tensor.
#pragma once

#include "cpu/kernels/kernels.h"

namespace rl::cpu::RL_ISA {

/// Every element of `indices` (i32 [n]) lies in [0, limit).
inline void check_indices(const char *name, View indices, int64_t limit) {
  const int32_t *values = indices.i32();
  for (int64_t i = 0; i < indices.elements(); i++) {
    if (values[i] < 0 || values[i] >= limit) {
      fail(RL_INVALID_ARGUMENT, "%s[%lld] is %d, expected 0 to %lld", name, static_cast<long long>(i), values[i],
           static_cast<long long>(limit - 1));
    }
  }
}

/// cu_seqlens (i32 [B+1]) starts at 0, never falls, and ends at `total`.
inline void check_cu_seqlens(View cu, int64_t total) {
  const int32_t *values = cu.i32();
  const int64_t last = cu.elements() - 1;
  if (values[0] != 0) fail(RL_INVALID_ARGUMENT, "cu_seqlens[0] is %d, expected 0", values[0]);
  for (int64_t i = 0; i < last; i++) {
    if (values[i + 1] < values[i]) {
      fail(RL_INVALID_ARGUMENT, "cu_seqlens[%lld] is %d, expected at least the %d before it",
           static_cast<long long>(i + 1), values[i + 1], values[i]);
    }
  }
  if (values[last] != total) {
    fail(RL_INVALID_ARGUMENT, "cu_seqlens[%lld] is %d, expected the number of rows, %lld", static_cast<long long>(last),
         values[last], static_cast<long long>(total));
  }
}

}  // namespace rl::cpu::RL_ISA
