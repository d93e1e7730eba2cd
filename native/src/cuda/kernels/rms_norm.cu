// y = w * x * s with s = 1 / sqrt(mean(x^2) + eps), per row, or per head of a row.  y (=)
// gradX = s * (gradY w - x s^2 mean(gradY w x))  (=);  gradW += sum over them of gradY * x * s.
// A block for each row or head. Traffic: x (and gradY) read once, y (gradX) written once, the minimum: the second sweep over a row
// finds it in the first-level cache. gradW: x and gradY once more, see column_sums.h.
#include "cuda/column_sums.h"

namespace rl::cuda {

/// The vectors that are normalised: rows [T,H], or the heads of rows [T,heads,H].
struct Vectors {
  int64_t heads, length, count;
  RL_ANYWHERE explicit Vectors(const View &x)
      : heads(x.rank == 3 ? x.shape[1] : 1), length(x.rank == 3 ? x.shape[2] : x.shape[1]), count(x.rows() * heads) {}
  template <class T>
  RL_ANYWHERE T *at(const View &view, int64_t i) const {
    if (heads == 1) return view.row<T>(i);
    const uint32_t vector = static_cast<uint32_t>(i), of_row = static_cast<uint32_t>(heads);  // a grid has no more
    return view.row<T>(vector / of_row) + static_cast<int64_t>(vector % of_row) * length;
  }
};

#if defined(RL_KERNELS)

/// Whether vectors of `view` can be read in runs of N.
template <int N, class T>
DEVICE bool in_runs(const Vectors &vectors, const View &view) {
  return takes_runs<N, T>(view) && (vectors.heads == 1 || vectors.length % N == 0);
}

template <int N, class X>
DEVICE float inverse_rms(const X *x, int64_t n, float eps, bool runs) {
  float sum = 0;
  for_each_run_of_row<N>(n, runs, [&](int64_t c, auto width) {
    float v[decltype(width)::value];
    read_run(v, x + c);
#pragma unroll
    for (int i = 0; i < decltype(width)::value; i++) sum += v[i] * v[i];
  });
  return 1.0f / sqrtf(block_sum(sum) / static_cast<float>(n) + eps);
}

template <class Y, class X>
DEVICE void forward(View y, View x, View w, float eps) {
  constexpr int kRun = kRunOf<Y, X>;
  const Vectors vectors(x);
  const int64_t t = blockIdx.x, n = vectors.length;
  const X *in = vectors.at<X>(x, t);
  Y *out = vectors.at<Y>(y, t);
  const bool runs = in_runs<kRun, Y>(vectors, y) && in_runs<kRun, X>(vectors, x) && takes_runs<kRun>(w.f32());
  const float s = inverse_rms<kRun>(in, n, eps, runs);
  for_each_run_of_row<kRun>(n, runs, [&](int64_t c, auto width) {
    constexpr int kWidth = decltype(width)::value;
    float v[kWidth], weight[kWidth];
    read_run(v, in + c);
    read_run(weight, w.f32() + c);
#pragma unroll
    for (int i = 0; i < kWidth; i++) v[i] = weight[i] * (v[i] * s);
    write_run(out + c, v);
  });
}

/// inverse[t] = s, which the sum over rows wants again.
template <class GX, class GY, class X>
DEVICE void backward(View gradX, float *inverse, View gradY, View x, View w, float eps) {
  constexpr int kRun = kRunOf<GX, GY, X>;
  const Vectors vectors(x);
  const int64_t t = blockIdx.x, n = vectors.length;
  const X *in = vectors.at<X>(x, t);
  const GY *gy = vectors.at<GY>(gradY, t);
  GX *gx = vectors.at<GX>(gradX, t);
  const bool runs = in_runs<kRun, GX>(vectors, gradX) && in_runs<kRun, GY>(vectors, gradY) &&
                    in_runs<kRun, X>(vectors, x) && takes_runs<kRun>(w.f32());
  const float s = inverse_rms<kRun>(in, n, eps, runs);
  float dot = 0;
  for_each_run_of_row<kRun>(n, runs, [&](int64_t c, auto width) {
    constexpr int kWidth = decltype(width)::value;
    float v[kWidth], g[kWidth], weight[kWidth];
    read_run(v, in + c);
    read_run(g, gy + c);
    read_run(weight, w.f32() + c);
#pragma unroll
    for (int i = 0; i < kWidth; i++) dot += g[i] * weight[i] * v[i];
  });
  const float mean = block_sum(dot) * s * s / static_cast<float>(n);
  for_each_run_of_row<kRun>(n, runs, [&](int64_t c, auto width) {
    constexpr int kWidth = decltype(width)::value;
    float v[kWidth], g[kWidth], weight[kWidth];
    read_run(v, in + c);
    read_run(g, gy + c);
    read_run(weight, w.f32() + c);
#pragma unroll
    for (int i = 0; i < kWidth; i++) g[i] = s * (g[i] * weight[i] - v[i] * mean);
    write_run(gx + c, g);
  });
  if (threadIdx.x == 0) inverse[t] = s;
}

template <class GY, class X>
DEVICE void weight_pieces(float *pieces, const float *inverse, View gradY, View x) {
  constexpr int kRun = kRunOf<GY, X>;
  const Vectors vectors(x);
  const bool runs = in_runs<kRun, GY>(vectors, gradY) && in_runs<kRun, X>(vectors, x);
  sum_pieces<kRun>(pieces, vectors.length, vectors.count, runs, [&](int64_t t, int64_t c, auto &sums, auto width) {
    constexpr int kWidth = decltype(width)::value;
    float g[kWidth], v[kWidth];
    read_run(g, vectors.at<GY>(gradY, t) + c);
    read_run(v, vectors.at<X>(x, t) + c);
    const float s = inverse[t];
#pragma unroll
    for (int i = 0; i < kWidth; i++) sums[0][i] += g[i] * v[i] * s;
  });
}

#define RMS_NORM(Y, X)                                                                                                \
  KERNEL(rms_norm_##Y##_##X, kRunThreads, View y, View x, View w, float eps) { forward<Y, X>(y, x, w, eps); }         \
  KERNEL(rms_norm_weight_pieces_##Y##_##X, kColumnThreads, float *pieces, const float *inverse, View gradY, View x) { \
    weight_pieces<Y, X>(pieces, inverse, gradY, x);                                                                   \
  }
FOR_FLOATS_2(RMS_NORM)

#define RMS_NORM_BACKWARD(GX, GY, X)                                                                               \
  KERNEL(rms_norm_backward_##GX##_##GY##_##X, kRunThreads, View gradX, float *inverse, View gradY, View x, View w, \
         float eps) {                                                                                              \
    backward<GX, GY, X>(gradX, inverse, gradY, x, w, eps);                                                         \
  }
FOR_FLOATS_3(RMS_NORM_BACKWARD)

#else

void rms_norm(Device &device, View y, View x, View w, float eps) {
  const Vectors vectors(x);
  const auto dtypes = {y.dtype, x.dtype};
  gpu(device).launch(kernel_name("rms_norm", dtypes), by_row_of_runs(vectors.count, vectors.length, dtypes), y, x, w,
                     eps);
}

void rms_norm_backward(Device &device, View gradX, View gradW, View gradY, View x, View w, float eps) {
  CudaDevice &d = gpu(device);
  const Vectors vectors(x);
  float *inverse = d.scratch<float>(vectors.count);
  const auto dtypes = {gradX.dtype, gradY.dtype, x.dtype};
  d.launch(kernel_name("rms_norm_backward", dtypes), by_row_of_runs(vectors.count, vectors.length, dtypes), gradX,
           inverse, gradY, x, w, eps);
  if (!gradW) return;
  const ColumnSums sums(d, vectors.length, vectors.count, {gradY.dtype, x.dtype});
  d.launch(kernel_name("rms_norm_weight_pieces", {gradY.dtype, x.dtype}), sums.grid(), sums.pieces(),
           static_cast<const float *>(inverse), gradY, x);
  sums.add_to(gradW);
}

#endif

}  // namespace rl::cuda
