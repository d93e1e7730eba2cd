// Checks of what lies in index tensors, queued ahead of the kernel that follows them; that kernel leaves out what is wrong.
#pragma once

#include "cuda/cuda_device.h"

namespace rl::cuda {

/// Every element of `indices` (i32 [n]) lies in [least, limit).
void check_indices(CudaDevice &device, const char *op, const char *name, const View &indices, int64_t limit,
                   int64_t least = 0);

/// Every target (i32 [n]) lies in [0, vocabulary), or is -100: to be ignored.
void check_targets(CudaDevice &device, const char *op, const View &targets, int64_t vocabulary);

/// cu_seqlens (i32 [B+1]) starts at 0, never falls, and ends at `total`; every sequence has a token unless `may_be_empty`.
void check_cu_seqlens(CudaDevice &device, const char *op, const View &cu, int64_t total, bool may_be_empty);

}  // namespace rl::cuda
