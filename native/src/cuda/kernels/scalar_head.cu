// y[t] = x[t] . w + bias.  x [T,H], w [H], y [T]  (=)
// gradX = gradY[t] w  (=);  gradW += sum_t gradY[t] x[t];  gradBias += sum_t gradY[t].  gradW: see column_sums.h.
#include "cuda/column_sums.h"
#include "cuda/op.h"

namespace rl::cuda {

constexpr int kThreads = 128;

#if defined(RL_KERNELS)

template <class X>
DEVICE void forward(View y, View x, View w, View bias) {
  const int64_t t = blockIdx.x;
  float sum = 0;
  for (int64_t i = threadIdx.x; i < x.cols(); i += blockDim.x) sum += to_f32(x.row<X>(t)[i]) * w.f32()[i];
  sum = block_sum(sum);
  if (threadIdx.x == 0) y.f32()[t] = sum + (bias ? bias.f32()[0] : 0.0f);
}

template <class GX>
DEVICE void input(View gradX, View gradY, View w) {
  const int64_t t = blockIdx.x;
  const float g = gradY.f32()[t];
  for (int64_t i = threadIdx.x; i < gradX.cols(); i += blockDim.x) gradX.row<GX>(t)[i] = from_f32<GX>(g * w.f32()[i]);
}

template <class X>
DEVICE void weight_pieces(float *pieces, View gradY, View x) {
  const int64_t i = thread_of_grid(), n = x.cols();
  if (i >= n) return;
  const int64_t begin = blockIdx.y * kPieceRows, end = smaller(begin + kPieceRows, x.rows());
  float sum = 0;
  for (int64_t t = begin; t < end; t++) sum += gradY.f32()[t] * to_f32(x.row<X>(t)[i]);
  pieces[blockIdx.y * n + i] = sum;
}

#define SCALAR_HEAD(X)                                                                                   \
  KERNEL(scalar_head_##X, kThreads, View y, View x, View w, View bias) { forward<X>(y, x, w, bias); }    \
  KERNEL(scalar_head_input_##X, kThreads, View gradX, View gradY, View w) { input<X>(gradX, gradY, w); } \
  KERNEL(scalar_head_weight_pieces_##X, kThreads, float *pieces, View gradY, View x) {                   \
    weight_pieces<X>(pieces, gradY, x);                                                                  \
  }
FOR_FLOATS(SCALAR_HEAD)

KERNEL(scalar_head_add_pieces, kThreads, View gradW, const float *pieces, int64_t count) {
  const int64_t i = thread_of_grid(), n = gradW.elements();
  if (i >= n) return;
  float sum = 0;
  for (int64_t piece = 0; piece < count; piece++) sum += pieces[piece * n + i];
  gradW.f32()[i] += sum;
}

KERNEL(scalar_head_bias, kThreads, View gradBias, View gradY) {
  double sum = 0;
  for (int64_t t = threadIdx.x; t < gradY.elements(); t += blockDim.x) sum += static_cast<double>(gradY.f32()[t]);
  sum = block_sum(sum);
  if (threadIdx.x == 0) gradBias.f32()[0] += static_cast<float>(sum);
}

#else

void scalar_head(Device &device, View y, View x, View w, View bias) {
  gpu(device).launch(kernel_name("scalar_head", {x.dtype}), by_row(x.rows(), kThreads), y, x, w, bias);
}

void scalar_head_backward(Device &device, View gradX, View gradW, View gradBias, View gradY, View x, View w) {
  CudaDevice &d = gpu(device);
  const int64_t rows = x.rows(), n = x.cols(), count = piece_count(rows);
  if (gradX) d.launch(kernel_name("scalar_head_input", {gradX.dtype}), by_row(rows, kThreads), gradX, gradY, w);
  float *pieces = d.scratch<float>(count * n);
  d.launch(kernel_name("scalar_head_weight_pieces", {x.dtype}), Grid{ceil_div(n, kThreads), count, kThreads}, pieces,
           gradY, x);
  d.launch("scalar_head_add_pieces", by_element(n, kThreads), gradW, static_cast<const float *>(pieces), count);
  if (gradBias) d.launch("scalar_head_bias", Grid{1, 1, kThreads}, gradBias, gradY);
}

#endif

}  // namespace rl::cuda
