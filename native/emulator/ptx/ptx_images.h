// The PTX of all kernels for one architecture. Defined in a file that native/cmake/Cuda.cmake writes.
#pragma once

#include "cuda/cuda_device.h"

namespace rl::emulator::ptx {

const cuda::KernelImages &ptx_images();

}  // namespace rl::emulator::ptx
