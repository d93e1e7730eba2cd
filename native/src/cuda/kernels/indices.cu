// Looks at the values of index tensors before kernels follow them; what is wrong is noted in pinned memory, the first only.
#include "cuda/op.h"
#if !defined(RL_KERNELS)
#include "cuda/indices.h"
#endif

namespace rl::cuda {

constexpr int kThreads = 128;

#if defined(RL_KERNELS)

KERNEL(indices_in_range, kThreads, Guard guard, View indices, int64_t limit, int64_t least) {
  const int64_t i = thread_of_grid();
  if (i >= indices.elements()) return;
  const int32_t value = indices.i32()[i];
  if (value < least || value >= limit) note(guard, kOutOfRange, i, value, limit - 1, least);
}

KERNEL(targets_in_range, kThreads, Guard guard, View targets, int64_t vocabulary) {
  const int64_t i = thread_of_grid();
  if (i >= targets.elements()) return;
  const int32_t value = targets.i32()[i];
  if ((value < 0 || value >= vocabulary) && value != -100) note(guard, kNoTarget, i, value, vocabulary - 1);
}

KERNEL(cu_seqlens_in_order, kThreads, Guard guard, View cu, int64_t total, int32_t may_be_empty) {
  const int64_t b = thread_of_grid(), sequences = cu.elements() - 1;
  if (b > sequences) return;
  const int32_t *values = cu.i32();
  if (b == 0 && values[0] != 0) note(guard, kNotZero, 0, values[0], 0);
  if (b == sequences) {
    if (values[b] != total) note(guard, kWrongEnd, b, values[b], total);
    return;
  }
  if (values[b + 1] < values[b]) note(guard, kFalls, b + 1, values[b + 1], values[b]);
  if (values[b + 1] == values[b] && !may_be_empty) note(guard, kEmptySequence, b, 0, 0);
}

#else

void check_indices(CudaDevice &device, const char *op, const char *name, const View &indices, int64_t limit,
                   int64_t least) {
  device.launch("indices_in_range", by_element(indices.elements(), kThreads), device.guard(op, name), indices, limit,
                least);
}

void check_targets(CudaDevice &device, const char *op, const View &targets, int64_t vocabulary) {
  device.launch("targets_in_range", by_element(targets.elements(), kThreads), device.guard(op, "targets"), targets,
                vocabulary);
}

void check_cu_seqlens(CudaDevice &device, const char *op, const View &cu, int64_t total, bool may_be_empty) {
  device.launch("cu_seqlens_in_order", by_element(cu.elements(), kThreads), device.guard(op, "cu_seqlens"), cu, total,
                static_cast<int32_t>(may_be_empty));
}

#endif

}  // namespace rl::cuda
