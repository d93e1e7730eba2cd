// What a kernel notes, in pinned memory, when a value that lies in a tensor (an id, an offset) is wrong: a GPU cannot throw.
// The host makes an error of it when it next waits for the device, or at once with RLHF4J_CUDA_BLOCKING=1.
#pragma once

#include "dispatch/view.h"
#if defined(RL_KERNELS)
#include "cuda/primitives.h"
#endif

namespace rl::cuda {

enum FaultKind : int32_t {
  kNoFault = 0,
  kOutOfRange,     // argument[index] is value, expected least to limit
  kNotZero,        // argument[0] is value
  kFalls,          // argument[index] is value, limit came before it
  kWrongEnd,       // argument[index] is value, expected limit rows
  kEmptySequence,  // sequence `index` is empty
  kNoChoice,       // row `index` of argument is no distribution to draw from
  kNoTarget,       // argument[index] is value, expected least to limit or -100
};

struct Fault {
  int32_t kind;
  const char *op;  // addresses of the host's text: the device only carries them
  const char *argument;
  int64_t index, value, least, limit;
};

/// What a kernel needs to look at the values of one index tensor.
struct Guard {
  Fault *fault;
  const char *op;
  const char *argument;
};

#if defined(RL_KERNELS)
/// Keeps the first fault.
DEVICE void note(const Guard &guard, int32_t kind, int64_t index, int64_t value, int64_t limit, int64_t least = 0) {
  if (atomicCAS(&guard.fault->kind, static_cast<int32_t>(kNoFault), kind) != kNoFault) return;
  guard.fault->op = guard.op;
  guard.fault->argument = guard.argument;
  guard.fault->index = index;
  guard.fault->value = value;
  guard.fault->least = least;
  guard.fault->limit = limit;
}
#endif

}  // namespace rl::cuda
