// The CUDA driver's functions, carried out by the emulator.
#pragma once

#include <functional>

#include "cuda/driver.h"
#include "emulator/machine.h"

namespace rl::emulator {

/// The driver over `machine`; one machine for the process.
const cuda::Driver &emulated_driver(Machine &machine);

/// Queues what is no kernel of ours: `work` runs when the stream is worked off, and tells report.h what went wrong.
void enqueue(CUstream stream, const std::string &name, std::function<void(Machine &)> work);

}  // namespace rl::emulator
