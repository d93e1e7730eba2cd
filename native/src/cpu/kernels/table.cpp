// The op table of one instruction set: every op of ops.def, or the link fails.
#include "cpu/kernels/kernels.h"

namespace rl::cpu::RL_ISA {

extern const Ops ops;
const Ops ops = {
#define RL_OP(name, ...) &name,
#include "dispatch/ops.def"
#undef RL_OP
};

}  // namespace rl::cpu::RL_ISA
