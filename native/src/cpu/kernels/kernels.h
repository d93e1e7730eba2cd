// Declares every CPU kernel in the namespace of the instruction set being compiled (RL_ISA: generic, avx2 or avx512).
// Files of this folder are compiled once per instruction set. Keep their helpers inside the namespace, and use no inline
// function of the standard library in them: the linker would keep one copy for all, perhaps the one of a newer processor.
#pragma once

#include "cpu/cpu_device.h"

namespace rl::cpu::RL_ISA {

#define RL_OP(name, ...) void name(Device &device, __VA_ARGS__);
#include "dispatch/ops.def"
#undef RL_OP

}  // namespace rl::cpu::RL_ISA
