// linear for the few rows of a decoding step, bound by reading W once (kernels/linear_few_rows.cu).
#pragma once

#include "cuda/cuda_device.h"

namespace rl::cuda {

struct LoraTable;

/// bf16, up to 16 rows, and rows that 16-byte loads can take.
bool takes_few_rows(const View &x, const View &w);
void linear_few_rows(CudaDevice &device, View y, View x, View w, View bias, bool accumulate,
                     const LoraTable *legs = nullptr);

}  // namespace rl::cuda
