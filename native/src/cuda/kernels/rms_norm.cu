// y = w * x * s with s = 1 / sqrt(mean(x^2) + eps), per row.  y (=)
// gradX = s * (gradY w - x s^2 mean(gradY w x))  (=);  gradW += sum over rows of gradY * x * s.
// A block for each row; x is read twice, the second time from the cache. gradW: see column_sums.h.
#include "cuda/column_sums.h"
#include "cuda/op.h"

namespace rl::cuda {

constexpr int kThreads = 128;

#if defined(RL_KERNELS)

template <class X>
DEVICE float inverse_rms(const X *x, int64_t n, float eps) {
  float sum = 0;
  for (int64_t i = threadIdx.x; i < n; i += blockDim.x) sum += to_f32(x[i]) * to_f32(x[i]);
  return 1.0f / sqrtf(block_sum(sum) / static_cast<float>(n) + eps);
}

template <class Y, class X>
DEVICE void forward(View y, View x, View w, float eps) {
  const int64_t t = blockIdx.x, n = x.cols();
  const X *in = x.row<X>(t);
  Y *out = y.row<Y>(t);
  const float s = inverse_rms(in, n, eps);
  for (int64_t i = threadIdx.x; i < n; i += blockDim.x) out[i] = from_f32<Y>(w.f32()[i] * (to_f32(in[i]) * s));
}

/// inverse[t] = s, which the sum over rows wants again.
template <class GX, class GY, class X>
DEVICE void backward(View gradX, float *inverse, View gradY, View x, View w, float eps) {
  const int64_t t = blockIdx.x, n = x.cols();
  const X *in = x.row<X>(t);
  const GY *gy = gradY.row<GY>(t);
  GX *gx = gradX.row<GX>(t);
  const float *weight = w.f32(), s = inverse_rms(in, n, eps);
  float dot = 0;
  for (int64_t i = threadIdx.x; i < n; i += blockDim.x) dot += to_f32(gy[i]) * weight[i] * to_f32(in[i]);
  const float c = block_sum(dot) * s * s / static_cast<float>(n);
  for (int64_t i = threadIdx.x; i < n; i += blockDim.x) {
    gx[i] = from_f32<GX>(s * (to_f32(gy[i]) * weight[i] - to_f32(in[i]) * c));
  }
  if (threadIdx.x == 0) inverse[t] = s;
}

template <class GY, class X>
DEVICE void weight_pieces(float *pieces, const float *inverse, View gradY, View x) {
  const int64_t i = thread_of_grid(), n = x.cols();
  if (i >= n) return;
  const int64_t begin = blockIdx.y * kPieceRows, end = smaller(begin + kPieceRows, x.rows());
  float sum = 0;
  for (int64_t t = begin; t < end; t++) sum += to_f32(gradY.row<GY>(t)[i]) * to_f32(x.row<X>(t)[i]) * inverse[t];
  pieces[blockIdx.y * n + i] = sum;
}

#define RMS_NORM(Y, X)                                                                                          \
  KERNEL(rms_norm_##Y##_##X, kThreads, View y, View x, View w, float eps) { forward<Y, X>(y, x, w, eps); }      \
  KERNEL(rms_norm_weight_pieces_##Y##_##X, kThreads, float *pieces, const float *inverse, View gradY, View x) { \
    weight_pieces<Y, X>(pieces, inverse, gradY, x);                                                             \
  }
FOR_FLOATS_2(RMS_NORM)

#define RMS_NORM_BACKWARD(GX, GY, X)                                                                            \
  KERNEL(rms_norm_backward_##GX##_##GY##_##X, kThreads, View gradX, float *inverse, View gradY, View x, View w, \
         float eps) {                                                                                           \
    backward<GX, GY, X>(gradX, inverse, gradY, x, w, eps);                                                      \
  }
FOR_FLOATS_3(RMS_NORM_BACKWARD)

KERNEL(rms_norm_add_pieces, kThreads, View gradW, const float *pieces, int64_t count) {
  const int64_t i = thread_of_grid(), n = gradW.elements();
  if (i >= n) return;
  float sum = 0;
  for (int64_t piece = 0; piece < count; piece++) sum += pieces[piece * n + i];
  gradW.f32()[i] += sum;
}

#else

void rms_norm(Device &device, View y, View x, View w, float eps) {
  gpu(device).launch(kernel_name("rms_norm", {y.dtype, x.dtype}), by_row(x.rows(), kThreads), y, x, w, eps);
}

void rms_norm_backward(Device &device, View gradX, View gradW, View gradY, View x, View w, float eps) {
  CudaDevice &d = gpu(device);
  const int64_t rows = x.rows(), n = x.cols(), count = piece_count(rows);
  float *inverse = d.scratch<float>(rows);
  d.launch(kernel_name("rms_norm_backward", {gradX.dtype, gradY.dtype, x.dtype}), by_row(rows, kThreads), gradX,
           inverse, gradY, x, w, eps);
  if (!gradW) return;
  float *pieces = d.scratch<float>(count * n);
  const Grid grid{ceil_div(n, kThreads), count, kThreads};
  d.launch(kernel_name("rms_norm_weight_pieces", {gradY.dtype, x.dtype}), grid, pieces,
           static_cast<const float *>(inverse), gradY, x);
  d.launch("rms_norm_add_pieces", by_element(n, kThreads), gradW, static_cast<const float *>(pieces), count);
}

#endif

}  // namespace rl::cuda
