// Products of activations with weights, for the ops that have one inside.
#pragma once

#include "cpu/cpu_weight.h"
#include "cpu/kernels/kernels.h"

namespace rl::cpu::RL_ISA {

/// Y = X B + bias, or Y += with accumulate. Y float [m,n], X [m,k] in B's dtype, both with strided rows; bias f32 [n]
/// or null. A row's bits depend on m only through the choice of the kernel, see multiply.cpp.
void multiply(CpuDevice &device, const View &y, const View &x, const Matrix &b, const float *bias, bool accumulate);

/// Y += A^T B. Y f32 [n,k] dense, A [t,n], B [t,k] of one dtype, rows may be strided.
void multiply_transposed(CpuDevice &device, const View &y, const View &a, const View &b);

/// Rows `from` to `to` of a matrix.
inline __attribute__((always_inline)) View rows_of(const View &x, int64_t from, int64_t to) {
  View part = x;
  part.data = static_cast<char *>(x.data) + from * x.stride[0] * (x.dtype == RL_BF16 ? 2 : 4);
  part.shape[0] = to - from;
  return part;
}

/// A [rows,cols] matrix in memory of our own.
inline __attribute__((always_inline)) View matrix(void *data, int32_t dtype, int64_t rows, int64_t cols,
                                                  int64_t stride) {
  View v;
  v.data = data;
  v.dtype = dtype;
  v.rank = 2;
  v.shape[0] = rows;
  v.shape[1] = cols;
  v.stride[0] = stride;
  return v;
}

}  // namespace rl::cpu::RL_ISA
