// What a file of cuda/kernels includes. Each is compiled two ways: with RL_KERNELS as device code, its first half (by nvcc, and
// as C++ for the emulator), and without as host code, its second half, the launchers.
#pragma once

#include "cuda/fault.h"
#include "dispatch/view.h"

#if defined(RL_KERNELS)
#include "cuda/device_code.h"
#else
#include "cuda/cuda_weight.h"
#include "cuda/grids.h"

namespace rl::cuda {
#define RL_OP(name, ...) void name(Device &device, __VA_ARGS__);
#include "dispatch/ops.def"
#undef RL_OP
}  // namespace rl::cuda
#endif
