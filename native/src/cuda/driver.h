// The CUDA driver as a table of functions, so that the library loads where there is none, and an emulator can stand in.
#pragma once

#include <cuda.h>

#include "dispatch/error.h"

namespace rl::cuda {

struct Driver {
#define RL_DRIVER(name) decltype(&::name) name;
#include "cuda/driver.def"
#undef RL_DRIVER
  /// Told, in the order of the stream's work, how many bytes of a block the caller of the allocator asked for, and 0 when the
  /// block comes back: the emulator's checker watches exactly these. Null for the real driver.
  void (*lent)(CUdeviceptr block, size_t bytes, CUstream stream) = nullptr;
  /// What went wrong in a kernel, beyond the error's number. Null for the real driver.
  const char *(*report)() = nullptr;

  /// Throws RL_INTERNAL (RL_OUT_OF_MEMORY where it is that) naming `what` unless `result` is CUDA_SUCCESS.
  void check(CUresult result, const char *what) const;
};

/// The driver of this machine. Throws RL_UNSUPPORTED with one sentence that says what to do if there is none, or it is
/// older than what the kernels were compiled for.
const Driver &system_driver();

/// Throws as system_driver() does unless the driver serves kernels of this build and has device `index`.
void require_device(const Driver &driver, int32_t index);

}  // namespace rl::cuda
