// y = w * n + bias with n = (x - mean(x)) * s, s = 1 / sqrt(var(x) + eps), per row; var is the mean of squares.  y (=)
// With g = gradY * w: gradX = s * (g - mean(g) - n * mean(g n))  (=);  gradW += sum over rows of gradY * n, gradBias += of gradY.
// A block for each row; x is read three times (mean, variance, result), all but the first from the cache. gradW and gradBias: see
// column_sums.h.
#include "cuda/column_sums.h"
#include "cuda/op.h"

namespace rl::cuda {

constexpr int kThreads = 128;

struct Moments {
  float mean, inverse;  // inverse: 1 / sqrt(var + eps)
};

#if defined(RL_KERNELS)

template <class X>
DEVICE Moments moments(const X *x, int64_t n, float eps) {
  float sum = 0;
  for (int64_t i = threadIdx.x; i < n; i += blockDim.x) sum += to_f32(x[i]);
  const float mean = block_sum(sum) / static_cast<float>(n);
  float squares = 0;  // in a second sweep: the difference of two large sums would lose the variance
  for (int64_t i = threadIdx.x; i < n; i += blockDim.x) squares += (to_f32(x[i]) - mean) * (to_f32(x[i]) - mean);
  return {mean, 1.0f / sqrtf(block_sum(squares) / static_cast<float>(n) + eps)};
}

template <class Y, class X>
DEVICE void forward(View y, View x, View w, View bias, float eps) {
  const int64_t t = blockIdx.x, n = x.cols();
  const X *in = x.row<X>(t);
  const Moments m = moments(in, n, eps);
  for (int64_t i = threadIdx.x; i < n; i += blockDim.x) {
    y.row<Y>(t)[i] = from_f32<Y>(w.f32()[i] * ((to_f32(in[i]) - m.mean) * m.inverse) + bias.f32()[i]);
  }
}

/// of_rows[t]: the moments, which the sums over rows want again.
template <class GX, class GY, class X>
DEVICE void backward(View gradX, Moments *of_rows, View gradY, View x, View w, float eps) {
  const int64_t t = blockIdx.x, n = x.cols();
  const X *in = x.row<X>(t);
  const GY *gy = gradY.row<GY>(t);
  const float *weight = w.f32();
  const Moments m = moments(in, n, eps);
  float sum = 0, dot = 0;
  for (int64_t i = threadIdx.x; i < n; i += blockDim.x) {
    const float g = to_f32(gy[i]) * weight[i];
    sum += g;
    dot += g * (to_f32(in[i]) - m.mean);
  }
  const float mean = block_sum(sum) / static_cast<float>(n);
  const float c = block_sum(dot) * m.inverse * m.inverse / static_cast<float>(n);
  for (int64_t i = threadIdx.x; i < n; i += blockDim.x) {
    const float g = to_f32(gy[i]) * weight[i];
    gradX.row<GX>(t)[i] = from_f32<GX>(m.inverse * (g - mean - (to_f32(in[i]) - m.mean) * c));
  }
  if (threadIdx.x == 0) of_rows[t] = m;
}

#define LAYER_NORM(Y, X)                                                                                        \
  KERNEL(layer_norm_##Y##_##X, kThreads, View y, View x, View w, View bias, float eps) {                        \
    forward<Y, X>(y, x, w, bias, eps);                                                                          \
  }                                                                                                             \
  KERNEL(layer_norm_weight_pieces_##Y##_##X, kColumnThreads, float *pieces, const Moments *of_rows, View gradY, \
         View x) {                                                                                              \
    sum_pieces(pieces, x.cols(), x.rows(), [&](int64_t t, int64_t i) {                                          \
      return to_f32(gradY.row<Y>(t)[i]) * (to_f32(x.row<X>(t)[i]) - of_rows[t].mean) * of_rows[t].inverse;      \
    });                                                                                                         \
  }
FOR_FLOATS_2(LAYER_NORM)

#define LAYER_NORM_BACKWARD(GX, GY, X)                                                                              \
  KERNEL(layer_norm_backward_##GX##_##GY##_##X, kThreads, View gradX, Moments *of_rows, View gradY, View x, View w, \
         float eps) {                                                                                               \
    backward<GX, GY, X>(gradX, of_rows, gradY, x, w, eps);                                                          \
  }
FOR_FLOATS_3(LAYER_NORM_BACKWARD)

#define LAYER_NORM_BIAS(GY)                                                                                            \
  KERNEL(layer_norm_bias_pieces_##GY, kColumnThreads, float *pieces, View gradY) {                                     \
    sum_pieces(pieces, gradY.cols(), gradY.rows(), [&](int64_t t, int64_t i) { return to_f32(gradY.row<GY>(t)[i]); }); \
  }
FOR_FLOATS(LAYER_NORM_BIAS)

#else

void layer_norm(Device &device, View y, View x, View w, View bias, float eps) {
  gpu(device).launch(kernel_name("layer_norm", {y.dtype, x.dtype}), by_row(x.rows(), kThreads), y, x, w, bias, eps);
}

void layer_norm_backward(Device &device, View gradX, View gradW, View gradBias, View gradY, View x, View w, float eps) {
  CudaDevice &d = gpu(device);
  Moments *of_rows = d.scratch<Moments>(x.rows());
  d.launch(kernel_name("layer_norm_backward", {gradX.dtype, gradY.dtype, x.dtype}), by_row(x.rows(), kThreads), gradX,
           of_rows, gradY, x, w, eps);
  if (!gradW) return;
  const ColumnSums weight(d, x.cols(), x.rows()), bias(d, x.cols(), x.rows());
  d.launch(kernel_name("layer_norm_weight_pieces", {gradY.dtype, x.dtype}), weight.grid(), weight.pieces(),
           static_cast<const Moments *>(of_rows), gradY, x);
  weight.add_to(gradW);
  d.launch(kernel_name("layer_norm_bias_pieces", {gradY.dtype}), bias.grid(), bias.pieces(), gradY);
  bias.add_to(gradBias);
}

#endif

}  // namespace rl::cuda
