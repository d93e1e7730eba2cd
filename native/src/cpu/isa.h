// Run-time choice among the kernels compiled for different instruction sets.
#pragma once

#include "dispatch/backend.h"

namespace rl::cpu {

enum class Isa { generic, avx2, avx512 };

/// The best one that this processor has; RLHF4J_CPU_ISA=generic|avx2|avx512 in the environment caps it (for tests).
Isa best_isa();
const char *isa_name(Isa isa);
/// Whether this build and this processor have it.
bool has_isa(Isa isa);
const Ops &ops_of(Isa isa);

}  // namespace rl::cpu
