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

#define SCALAR_HEAD(X)                                                                                   \
  KERNEL(scalar_head_##X, kThreads, View y, View x, View w, View bias) { forward<X>(y, x, w, bias); }    \
  KERNEL(scalar_head_input_##X, kThreads, View gradX, View gradY, View w) { input<X>(gradX, gradY, w); } \
  KERNEL(scalar_head_weight_pieces_##X, kColumnThreads, float *pieces, View gradY, View x) {             \
    sum_pieces(pieces, x.cols(), x.rows(),                                                               \
               [&](int64_t t, int64_t i) { return gradY.f32()[t] * to_f32(x.row<X>(t)[i]); });           \
  }
FOR_FLOATS(SCALAR_HEAD)

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
  if (gradX) d.launch(kernel_name("scalar_head_input", {gradX.dtype}), by_row(x.rows(), kThreads), gradX, gradY, w);
  const ColumnSums sums(d, x.cols(), x.rows());
  d.launch(kernel_name("scalar_head_weight_pieces", {x.dtype}), sums.grid(), sums.pieces(), gradY, x);
  sums.add_to(gradW);
  if (gradBias) d.launch("scalar_head_bias", Grid{1, 1, kThreads}, gradBias, gradY);
}

#endif

}  // namespace rl::cuda
