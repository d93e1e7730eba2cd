// y[t] = x[t] . w + bias.  x [T,H], w [H], y [T]  (=)
// gradX = gradY[t] w  (=);  gradW += sum_t gradY[t] x[t];  gradBias += sum_t gradY[t].  gradW: see column_sums.h.
// Traffic: x read once, gradX written once, x once more for gradW: the minimum for each launch.
#include "cuda/column_sums.h"

namespace rl::cuda {

constexpr int kThreads = 128;

#if defined(RL_KERNELS)

template <class X>
DEVICE void forward(View y, View x, View w, View bias) {
  constexpr int kRun = kRunOf<X>;
  const int64_t t = blockIdx.x;
  float sum = 0;
  for_each_run_of_row<kRun>(x.cols(), takes_runs<kRun, X>(x) && takes_runs<kRun>(w.f32()), [&](int64_t c, auto width) {
    constexpr int kWidth = decltype(width)::value;
    float v[kWidth], weight[kWidth];
    read_run(v, x.row<X>(t) + c);
    read_run(weight, w.f32() + c);
#pragma unroll
    for (int i = 0; i < kWidth; i++) sum += v[i] * weight[i];
  });
  sum = block_sum(sum);
  if (threadIdx.x == 0) y.f32()[t] = sum + (bias ? bias.f32()[0] : 0.0f);
}

template <class GX>
DEVICE void input(View gradX, View gradY, View w) {
  constexpr int kRun = kRunOf<GX>;
  for_each_run<kRun>(gradX, takes_runs<kRun, GX>(gradX) && takes_runs<kRun>(w.f32()),
                     [&](int64_t t, int64_t c, auto width) {
                       float v[decltype(width)::value];
                       read_run(v, w.f32() + c);
                       const float g = gradY.f32()[t];
#pragma unroll
                       for (int i = 0; i < decltype(width)::value; i++) v[i] *= g;
                       write_run(gradX.row<GX>(t) + c, v);
                     });
}

template <class X>
DEVICE void weight_pieces(float *pieces, View gradY, View x) {
  constexpr int kRun = kRunOf<X>;
  sum_pieces<kRun>(pieces, x.cols(), x.rows(), takes_runs<kRun, X>(x),
                   [&](int64_t t, int64_t c, auto &sums, auto width) {
                     float v[decltype(width)::value];
                     read_run(v, x.row<X>(t) + c);
                     const float g = gradY.f32()[t];
#pragma unroll
                     for (int i = 0; i < decltype(width)::value; i++) sums[0][i] += g * v[i];
                   });
}

#define SCALAR_HEAD(X)                                                                                      \
  KERNEL(scalar_head_##X, kRunThreads, View y, View x, View w, View bias) { forward<X>(y, x, w, bias); }    \
  KERNEL(scalar_head_input_##X, kRunThreads, View gradX, View gradY, View w) { input<X>(gradX, gradY, w); } \
  KERNEL(scalar_head_weight_pieces_##X, kColumnThreads, float *pieces, View gradY, View x) {                \
    weight_pieces<X>(pieces, gradY, x);                                                                     \
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
  gpu(device).launch(kernel_name("scalar_head", {x.dtype}), by_row_of_runs(x.rows(), x.cols(), {x.dtype}), y, x, w,
                     bias);
}

void scalar_head_backward(Device &device, View gradX, View gradW, View gradBias, View gradY, View x, View w) {
  CudaDevice &d = gpu(device);
  if (gradX) d.launch(kernel_name("scalar_head_input", {gradX.dtype}), by_run(gradX, {gradX.dtype}), gradX, gradY, w);
  const ColumnSums sums(d, x.cols(), x.rows(), {x.dtype});
  d.launch(kernel_name("scalar_head_weight_pieces", {x.dtype}), sums.grid(), sums.pieces(), gradY, x);
  sums.add_to(gradW);
  if (gradBias) d.launch("scalar_head_bias", Grid{1, 1, kThreads}, gradBias, gradY);
}

#endif

}  // namespace rl::cuda
