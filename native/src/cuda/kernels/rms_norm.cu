// y = w * x * s with s = 1 / sqrt(mean(x^2) + eps), per row, or per head of a row.  y (=)
// gradX = s * (gradY w - x s^2 mean(gradY w x))  (=);  gradW += sum over them of gradY * x * s.
// A block for each row or head; x is read twice, the second time from the cache. gradW: see column_sums.h.
#include "cuda/column_sums.h"
#include "cuda/op.h"

namespace rl::cuda {

constexpr int kThreads = 128;

/// The vectors that are normalised: rows [T,H], or the heads of rows [T,heads,H].
struct Vectors {
  int64_t heads, length, count;
  RL_ANYWHERE explicit Vectors(const View &x)
      : heads(x.rank == 3 ? x.shape[1] : 1), length(x.shape[x.rank - 1]), count(x.rows() * heads) {}
  template <class T>
  RL_ANYWHERE T *at(const View &view, int64_t i) const {
    return view.row<T>(i / heads) + i % heads * length;
  }
};

#if defined(RL_KERNELS)

template <class X>
DEVICE float inverse_rms(const X *x, int64_t n, float eps) {
  float sum = 0;
  for (int64_t i = threadIdx.x; i < n; i += blockDim.x) sum += to_f32(x[i]) * to_f32(x[i]);
  return 1.0f / sqrtf(block_sum(sum) / static_cast<float>(n) + eps);
}

template <class Y, class X>
DEVICE void forward(View y, View x, View w, float eps) {
  const Vectors vectors(x);
  const int64_t t = blockIdx.x, n = vectors.length;
  const X *in = vectors.at<X>(x, t);
  Y *out = vectors.at<Y>(y, t);
  const float s = inverse_rms(in, n, eps);
  for (int64_t i = threadIdx.x; i < n; i += blockDim.x) out[i] = from_f32<Y>(w.f32()[i] * (to_f32(in[i]) * s));
}

/// inverse[t] = s, which the sum over rows wants again.
template <class GX, class GY, class X>
DEVICE void backward(View gradX, float *inverse, View gradY, View x, View w, float eps) {
  const Vectors vectors(x);
  const int64_t t = blockIdx.x, n = vectors.length;
  const X *in = vectors.at<X>(x, t);
  const GY *gy = vectors.at<GY>(gradY, t);
  GX *gx = vectors.at<GX>(gradX, t);
  const float *weight = w.f32(), s = inverse_rms(in, n, eps);
  float dot = 0;
  for (int64_t i = threadIdx.x; i < n; i += blockDim.x) dot += to_f32(gy[i]) * weight[i] * to_f32(in[i]);
  const float c = block_sum(dot) * s * s / static_cast<float>(n);
  for (int64_t i = threadIdx.x; i < n; i += blockDim.x) {
    gx[i] = from_f32<GX>(s * (to_f32(gy[i]) * weight[i] - to_f32(in[i]) * c));
  }
  if (threadIdx.x == 0) inverse[t] = s;
}

#define RMS_NORM(Y, X)                                                                                                \
  KERNEL(rms_norm_##Y##_##X, kThreads, View y, View x, View w, float eps) { forward<Y, X>(y, x, w, eps); }            \
  KERNEL(rms_norm_weight_pieces_##Y##_##X, kColumnThreads, float *pieces, const float *inverse, View gradY, View x) { \
    const Vectors vectors(x);                                                                                         \
    sum_pieces(pieces, vectors.length, vectors.count, [&](int64_t t, int64_t i) {                                     \
      return to_f32(vectors.at<Y>(gradY, t)[i]) * to_f32(vectors.at<X>(x, t)[i]) * inverse[t];                        \
    });                                                                                                               \
  }
FOR_FLOATS_2(RMS_NORM)

#define RMS_NORM_BACKWARD(GX, GY, X)                                                                            \
  KERNEL(rms_norm_backward_##GX##_##GY##_##X, kThreads, View gradX, float *inverse, View gradY, View x, View w, \
         float eps) {                                                                                           \
    backward<GX, GY, X>(gradX, inverse, gradY, x, w, eps);                                                      \
  }
FOR_FLOATS_3(RMS_NORM_BACKWARD)

#else

void rms_norm(Device &device, View y, View x, View w, float eps) {
  gpu(device).launch(kernel_name("rms_norm", {y.dtype, x.dtype}), by_row(Vectors(x).count, kThreads), y, x, w, eps);
}

void rms_norm_backward(Device &device, View gradX, View gradW, View gradY, View x, View w, float eps) {
  CudaDevice &d = gpu(device);
  const Vectors vectors(x);
  float *inverse = d.scratch<float>(vectors.count);
  d.launch(kernel_name("rms_norm_backward", {gradX.dtype, gradY.dtype, x.dtype}), by_row(vectors.count, kThreads),
           gradX, inverse, gradY, x, w, eps);
  if (!gradW) return;
  const ColumnSums sums(d, vectors.length, vectors.count);
  d.launch(kernel_name("rms_norm_weight_pieces", {gradY.dtype, x.dtype}), sums.grid(), sums.pieces(),
           static_cast<const float *>(inverse), gradY, x);
  sums.add_to(gradW);
}

#endif

}  // namespace rl::cuda
