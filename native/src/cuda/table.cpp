// The op table of the CUDA backend: a function for every op of ops.def, or the link fails. Ops of missing.def say so by name.
#include <string_view>

#include "cuda/cuda_device.h"

namespace rl::cuda {

#define RL_OP(name, ...) void name(Device &device, __VA_ARGS__);
#include "dispatch/ops.def"
#undef RL_OP

namespace {

constexpr bool is_missing(std::string_view op) {
  bool found = false;
#define RL_MISSING(name) found |= op == #name;
#include "cuda/missing.def"
#undef RL_MISSING
  return found;
}

}  // namespace

#pragma GCC diagnostic ignored "-Wunused-parameter"  // the parameters of ops that are missing
const Ops ops = {
#define RL_OP(name, ...)                                                                            \
  [] {                                                                                              \
    if constexpr (is_missing(#name)) {                                                              \
      return +[](Device &, __VA_ARGS__) { fail(RL_UNSUPPORTED, "the cuda backend lacks " #name); }; \
    } else {                                                                                        \
      return &name;                                                                                 \
    }                                                                                               \
  }(),
#include "dispatch/ops.def"
#undef RL_OP
};

}  // namespace rl::cuda
