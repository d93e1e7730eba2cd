// y = w * n + bias with n = (x - mean(x)) * s, s = 1 / sqrt(var(x) + eps), per row; var is the mean of squares.  y (=)
// With g = gradY * w: gradX = s * (g - mean(g) - n * mean(g n))  (=);  gradW += sum over rows of gradY * n, gradBias += of gradY.
// A block for each row. Traffic: x (and gradY) read once, y (gradX) written once, the minimum: the further sweeps over a row (mean,
// variance, result) find it in the first-level cache. gradW and gradBias: x and gradY once more, see column_sums.h.
#include "cuda/column_sums.h"

namespace rl::cuda {

struct Moments {
  float mean, inverse;  // inverse: 1 / sqrt(var + eps)
};

#if defined(RL_KERNELS)

template <int N, class X>
DEVICE Moments moments(const X *x, int64_t n, float eps, bool runs) {
  float sum = 0;
  for_each_run_of_row<N>(n, runs, [&](int64_t c, auto width) {
    float v[decltype(width)::value];
    read_run(v, x + c);
#pragma unroll
    for (int i = 0; i < decltype(width)::value; i++) sum += v[i];
  });
  const float mean = block_sum(sum) / static_cast<float>(n);
  float squares = 0;  // in a second sweep: the difference of two large sums would lose the variance
  for_each_run_of_row<N>(n, runs, [&](int64_t c, auto width) {
    float v[decltype(width)::value];
    read_run(v, x + c);
#pragma unroll
    for (int i = 0; i < decltype(width)::value; i++) squares += (v[i] - mean) * (v[i] - mean);
  });
  return {mean, 1.0f / sqrtf(block_sum(squares) / static_cast<float>(n) + eps)};
}

template <class Y, class X>
DEVICE void forward(View y, View x, View w, View bias, float eps) {
  constexpr int kRun = kRunOf<Y, X>;
  const int64_t t = blockIdx.x, n = x.cols();
  const X *in = x.row<X>(t);
  Y *out = y.row<Y>(t);
  const bool runs =
      takes_runs<kRun, Y>(y) && takes_runs<kRun, X>(x) && takes_runs<kRun>(w.f32()) && takes_runs<kRun>(bias.f32());
  const Moments m = moments<kRun>(in, n, eps, runs);
  for_each_run_of_row<kRun>(n, runs, [&](int64_t c, auto width) {
    constexpr int kWidth = decltype(width)::value;
    float v[kWidth], weight[kWidth], add[kWidth];
    read_run(v, in + c);
    read_run(weight, w.f32() + c);
    read_run(add, bias.f32() + c);
#pragma unroll
    for (int i = 0; i < kWidth; i++) v[i] = weight[i] * ((v[i] - m.mean) * m.inverse) + add[i];
    write_run(out + c, v);
  });
}

/// of_rows[t]: the moments, which the sums over rows want again.
template <class GX, class GY, class X>
DEVICE void backward(View gradX, Moments *of_rows, View gradY, View x, View w, float eps) {
  constexpr int kRun = kRunOf<GX, GY, X>;
  const int64_t t = blockIdx.x, n = x.cols();
  const X *in = x.row<X>(t);
  const GY *gy = gradY.row<GY>(t);
  GX *gx = gradX.row<GX>(t);
  const bool runs =
      takes_runs<kRun, GX>(gradX) && takes_runs<kRun, GY>(gradY) && takes_runs<kRun, X>(x) && takes_runs<kRun>(w.f32());
  const Moments m = moments<kRun>(in, n, eps, runs);
  float sum = 0, dot = 0;
  for_each_run_of_row<kRun>(n, runs, [&](int64_t c, auto width) {
    constexpr int kWidth = decltype(width)::value;
    float v[kWidth], g[kWidth], weight[kWidth];
    read_run(v, in + c);
    read_run(g, gy + c);
    read_run(weight, w.f32() + c);
#pragma unroll
    for (int i = 0; i < kWidth; i++) {
      g[i] *= weight[i];
      sum += g[i];
      dot += g[i] * (v[i] - m.mean);
    }
  });
  const float mean = block_sum(sum) / static_cast<float>(n);
  const float slope = block_sum(dot) * m.inverse * m.inverse / static_cast<float>(n);
  for_each_run_of_row<kRun>(n, runs, [&](int64_t c, auto width) {
    constexpr int kWidth = decltype(width)::value;
    float v[kWidth], g[kWidth], weight[kWidth];
    read_run(v, in + c);
    read_run(g, gy + c);
    read_run(weight, w.f32() + c);
#pragma unroll
    for (int i = 0; i < kWidth; i++) g[i] = m.inverse * (g[i] * weight[i] - mean - (v[i] - m.mean) * slope);
    write_run(gx + c, g);
  });
  if (threadIdx.x == 0) of_rows[t] = m;
}

/// Of gradW and gradBias in one sweep.
template <class GY, class X>
DEVICE void weight_pieces(float *pieces, const Moments *of_rows, View gradY, View x) {
  constexpr int kRun = kRunOf<GY, X>;
  const bool runs = takes_runs<kRun, GY>(gradY) && takes_runs<kRun, X>(x);
  sum_pieces<kRun, 2>(pieces, x.cols(), x.rows(), runs, [&](int64_t t, int64_t c, auto &sums, auto width) {
    constexpr int kWidth = decltype(width)::value;
    float g[kWidth], v[kWidth];
    read_run(g, gradY.row<GY>(t) + c);
    read_run(v, x.row<X>(t) + c);
    const Moments m = of_rows[t];
#pragma unroll
    for (int i = 0; i < kWidth; i++) {
      sums[0][i] += g[i] * (v[i] - m.mean) * m.inverse;
      sums[1][i] += g[i];
    }
  });
}

#define LAYER_NORM(Y, X)                                                                                        \
  KERNEL(layer_norm_##Y##_##X, kRunThreads, View y, View x, View w, View bias, float eps) {                     \
    forward<Y, X>(y, x, w, bias, eps);                                                                          \
  }                                                                                                             \
  KERNEL(layer_norm_weight_pieces_##Y##_##X, kColumnThreads, float *pieces, const Moments *of_rows, View gradY, \
         View x) {                                                                                              \
    weight_pieces<Y, X>(pieces, of_rows, gradY, x);                                                             \
  }
FOR_FLOATS_2(LAYER_NORM)

#define LAYER_NORM_BACKWARD(GX, GY, X)                                                                                 \
  KERNEL(layer_norm_backward_##GX##_##GY##_##X, kRunThreads, View gradX, Moments *of_rows, View gradY, View x, View w, \
         float eps) {                                                                                                  \
    backward<GX, GY, X>(gradX, of_rows, gradY, x, w, eps);                                                             \
  }
FOR_FLOATS_3(LAYER_NORM_BACKWARD)

#else

void layer_norm(Device &device, View y, View x, View w, View bias, float eps) {
  const auto dtypes = {y.dtype, x.dtype};
  gpu(device).launch(kernel_name("layer_norm", dtypes), by_row_of_runs(x.rows(), x.cols(), dtypes), y, x, w, bias, eps);
}

void layer_norm_backward(Device &device, View gradX, View gradW, View gradBias, View gradY, View x, View w, float eps) {
  CudaDevice &d = gpu(device);
  Moments *of_rows = d.scratch<Moments>(x.rows());
  const auto dtypes = {gradX.dtype, gradY.dtype, x.dtype};
  d.launch(kernel_name("layer_norm_backward", dtypes), by_row_of_runs(x.rows(), x.cols(), dtypes), gradX, of_rows,
           gradY, x, w, eps);
  if (!gradW) return;
  const ColumnSums sums(d, x.cols(), x.rows(), {gradY.dtype, x.dtype}, 2);
  d.launch(kernel_name("layer_norm_weight_pieces", {gradY.dtype, x.dtype}), sums.grid(), sums.pieces(),
           static_cast<const Moments *>(of_rows), gradY, x);
  sums.add_to(gradW, 0);
  sums.add_to(gradBias, 1);
}

#endif

}  // namespace rl::cuda
