// The functions of cuBLASLt that the backend calls, carried out by the processor as they are documented.
#pragma once

#include "cuda/gemm_library.h"

namespace rl::cuda {
struct CublasLt;
}

namespace rl::emulator {

const cuda::CublasLt &emulated_cublaslt();

/// The emulated machine has the library with RLHF4J_EMULATOR_CUBLASLT=1 only, so that tests of our own tiles are just that.
std::unique_ptr<cuda::GemmLibrary> open_emulated_cublaslt(bool tf32, std::string &why_not);

}  // namespace rl::emulator
