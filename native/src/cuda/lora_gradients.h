// The gradients of a lora_linear's adapters (kernels/lora_gradients.cu).
#pragma once

#include <vector>

#include "cuda/cuda_device.h"
#include "cuda/lora.h"

namespace rl::cuda {

class LoraGradients {
 public:
  /// Plans the parts of each segment's sums, writes them into `entries`.
  LoraGradients(CudaDevice &device, std::vector<LoraEntry> &entries, const std::vector<LoraRange> &ranges, int64_t k,
                int32_t dtype);
  /// After lora_down has left gh and h as the products take them.
  void launch(const LoraTable &table, const View &x) const;

 private:
  CudaDevice &device_;
  int64_t entries_, most_blocks_ = 0, most_tiles_ = 0;
};

}  // namespace rl::cuda
