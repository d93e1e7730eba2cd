// What the emulated machine has of NVIDIA's libraries.
#pragma once

#include "cuda/cuda_device.h"
#include "emulator/cublaslt.h"

namespace rl::emulator {

inline cuda::Libraries emulated_libraries() {
  return {&open_emulated_cublaslt, [](std::string &why_not) -> std::unique_ptr<cuda::AttentionLibrary> {
            why_not = "the emulated machine has none";
            return nullptr;
          }};
}

}  // namespace rl::emulator
