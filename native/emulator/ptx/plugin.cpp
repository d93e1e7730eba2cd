// The entry point of librlhf4j_ptx80 and librlhf4j_ptx90: the CUDA backend's host code over the interpreter.
#include "dispatch/plugin.h"

#include "cuda/cuda_device.h"
#include "emulator/checker.h"
#include "emulator/driver.h"
#include "emulator/libraries.h"
#include "emulator/ptx/ptx_images.h"
#include "emulator/ptx/ptx_machine.h"

namespace rl::emulator {

const bool checked = false;

namespace {

std::unique_ptr<Device> open(int32_t index) {
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) {
    fail(RL_UNSUPPORTED, "the interpreter of PTX needs a processor with AVX2 and FMA");
  }
  return std::make_unique<cuda::CudaDevice>(cuda::ops, emulated_driver(ptx::ptx_machine(RL_PTX)), ptx::ptx_images(),
                                            index, emulated_libraries());
}

const Backend backend = {RL_ABI_VERSION, ops_fingerprint(), &open};

}  // namespace
}  // namespace rl::emulator

extern "C" __attribute__((visibility("default"))) const rl::Backend *rl_backend() { return &rl::emulator::backend; }
