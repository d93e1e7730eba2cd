// The CUDA driver's functions, carried out by the emulator.
#pragma once

#include "cuda/driver.h"
#include "emulator/machine.h"

namespace rl::emulator {

/// The driver over `machine`; one machine for the process.
const cuda::Driver &emulated_driver(Machine &machine);

}  // namespace rl::emulator
