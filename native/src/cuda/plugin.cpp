// The entry point of librlhf4j_cuda: the driver of this machine and the kernels that are built into the library.
#include "dispatch/plugin.h"

#include "cuda/cuda_device.h"

namespace rl::cuda {

const KernelImages &embedded_images();  // made by the build: native/cmake/Cuda.cmake

namespace {

std::unique_ptr<Device> open(int32_t index) {
  return std::make_unique<CudaDevice>(ops, system_driver(), embedded_images(), index,
                                      Libraries{&open_cublaslt, &open_cudnn});
}

const Backend backend = {RL_ABI_VERSION, ops_fingerprint(), &open};

}  // namespace
}  // namespace rl::cuda

extern "C" __attribute__((visibility("default"))) const rl::Backend *rl_backend() { return &rl::cuda::backend; }
