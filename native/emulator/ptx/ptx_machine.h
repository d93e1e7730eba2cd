// Runs PTX. Made for kernels as nvcc emits them for sm_80 and up; what it does not know is an error, at the latest when a
// module is loaded.
#pragma once

#include "emulator/machine.h"

namespace rl::emulator::ptx {

/// The machine of this process. A GPU's PTX fits when its target is at most the machine's compute capability.
Machine &ptx_machine(int compute_capability);

}  // namespace rl::emulator::ptx
