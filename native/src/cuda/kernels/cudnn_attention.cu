// What cuDNN's attention (cudnn.cpp) needs beside it: where sequences begin in each tensor, counted in elements, their lengths, and
// the log-sum-exp of [T,H] as [H,T] and back.  offsets i64 [n,B+1] (=), lengths i32 [B] (=);  y f32 [columns,rows] = x^T.
// Traffic: a few bytes for each sequence; x once (rows of 4 bytes come in sectors of 32, from the L2 cache), y once.
#include "cuda/attention_library.h"
#include "cuda/op.h"

namespace rl::cuda {

constexpr int kThreads = 256;

#if defined(RL_KERNELS)

KERNEL(cudnn_offsets_i64, kThreads, int64_t *offsets, int32_t *lengths, View cu, int64_t rows, RowStrides strides,
       int32_t count) {
  const int64_t b = thread_of_grid(), ends = cu.elements();
  if (b >= ends) return;
  const int64_t begin = clamp_index(cu.i32()[b], rows);
#pragma unroll  // else the parameter would be copied to local memory, to be indexed
  for (int i = 0; i < kMostStrides; i++) {
    if (i < count) offsets[i * ends + b] = begin * strides.of[i];
  }
  if (b + 1 == ends) return;
  const Span s = span(cu.i32(), b, rows);
  lengths[b] = static_cast<int32_t>(s.end - s.begin);
}

KERNEL(cudnn_transpose_f32, kThreads, float *y, const float *x, int64_t rows, int64_t columns) {
  const int64_t i = thread_of_grid();
  if (i < rows * columns) y[i] = x[i % rows * columns + i / rows];
}

#else

void cudnn_offsets(CudaDevice &device, int64_t *offsets, int32_t *lengths, const View &cu, int64_t rows,
                   const RowStrides &strides, int32_t count) {
  device.launch("cudnn_offsets_i64", by_element(cu.elements(), kThreads), offsets, lengths, cu, rows, strides, count);
}

void cudnn_transpose(CudaDevice &device, float *y, const float *x, int64_t rows, int64_t columns) {
  device.launch("cudnn_transpose_f32", by_element(rows * columns, kThreads), y, x, rows, columns);
}

#endif

}  // namespace rl::cuda
