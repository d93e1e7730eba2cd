// linear and linear_backward_input of bf16 activations with a matrix in NF4 whose codes are turned into values on the way
// (kernels/nf4_linear.cu, kernels/nf4_linear_backward_input.cu), and when that is done.
//
// With many rows a dense product is faster: all of W is dequantised to scratch memory once. A model in seconds, with m bytes/s of
// memory, d flop/s of a dense product on tensor cores and f flop/s of the fused kernels, for T rows and N values of W:
//   fused   max(0.52 N / m, 2 T N / f),   dense   (0.52 + 2 + 2) N / m + 2 T N / d.
// For an H100 (m = 3.3e12) with d = 600e12 and f = 300e12 forward, 100e12 backward (which turns codes into values again for each 32
// rows) they meet at some 400 and 80 rows. All of these figures are to be measured: nothing of it has run on a GPU.
#pragma once

#include "cuda/cuda_weight.h"

namespace rl::cuda {

struct LoraTable;

constexpr int64_t kNf4ForwardRows = 384;
constexpr int64_t kNf4BackwardRows = 96;

/// What a product of so many rows takes the codes of; null if it is to take matrix_of(weight).
inline const Nf4Matrix *nf4_for_product(const Weight &weight, int64_t rows, int64_t most) {
  const Nf4Matrix *w = cuda(weight).nf4();
  return w && w->tiled && weight.dtype == RL_BF16 && rows <= most ? w : nullptr;
}

/// legs: a lora_linear's, or null.
void nf4_linear(CudaDevice &device, View y, View x, const Nf4Matrix &w, View bias, bool accumulate,
                const LoraTable *legs = nullptr);
void nf4_linear_backward_input(CudaDevice &device, View gradX, View gradY, const Nf4Matrix &w, bool accumulate,
                               const LoraTable *legs = nullptr);

}  // namespace rl::cuda
