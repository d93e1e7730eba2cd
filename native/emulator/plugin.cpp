// The entry point of librlhf4j_emulated and librlhf4j_emulated-checked: the CUDA backend's host code over the emulator.
#include "dispatch/plugin.h"

#include "cuda/cuda_device.h"
#include "emulator/checker.h"
#include "emulator/driver.h"
#include "emulator/libraries.h"

namespace rl::emulator {

const bool checked = RL_CHECKED;

namespace {

std::unique_ptr<Device> open(int32_t index) {
  static const char any = 0;  // the emulated driver finds kernels in the library itself
  static const cuda::KernelImages images = {{"emulated kernels", &any}};
  return std::make_unique<cuda::CudaDevice>(cuda::ops, emulated_driver(fiber_machine()), images, index,
                                            emulated_libraries());
}

const Backend backend = {RL_ABI_VERSION, ops_fingerprint(), &open};

}  // namespace
}  // namespace rl::emulator

extern "C" __attribute__((visibility("default"))) const rl::Backend *rl_backend() { return &rl::emulator::backend; }
