// The CUDA driver's functions, carried out by the emulator.
#pragma once

#include "cuda/driver.h"

namespace rl::emulator {

const cuda::Driver &emulated_driver();

}  // namespace rl::emulator
