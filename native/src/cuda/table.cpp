// The op table of the CUDA backend: a function for every op of ops.def, or the link fails.
#include "cuda/cuda_device.h"

namespace rl::cuda {

#define RL_OP(name, ...) void name(Device &device, __VA_ARGS__);
#include "dispatch/ops.def"
#undef RL_OP

const Ops ops = {
#define RL_OP(name, ...) &name,
#include "dispatch/ops.def"
#undef RL_OP
};

}  // namespace rl::cuda
