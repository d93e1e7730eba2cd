// y[t] = x[t] . w + bias.  x [T,H], w [H], y [T]  (=)
// gradX = gradY[t] w  (=);  gradW += sum_t gradY[t] x[t];  gradBias += sum_t gradY[t].
#include <omp.h>

#include "cpu/kernels/kernels.h"
#include "cpu/kernels/simd.h"

namespace rl::cpu::RL_ISA {

void scalar_head(Device &device, View y, View x, View w, View bias) {
  const int64_t rows = x.rows(), n = x.cols();
  const float *weight = w.f32();
  const float shift = bias ? bias.f32()[0] : 0;
  float *out = y.f32();
  with_float(x.dtype, [&](auto tx) {
    using X = decltype(tx);
#pragma omp parallel for schedule(static) num_threads(cpu(device).threads()) if (rows * n > 32768)
    for (int64_t t = 0; t < rows; t++) {
      const X *in = x.row<X>(t);
      float sum = 0;
#pragma omp simd reduction(+ : sum)
      for (int64_t i = 0; i < n; i++) sum += to_f32(in[i]) * weight[i];
      out[t] = sum + shift;
    }
  });
}

void scalar_head_backward(Device &device, View gradX, View gradW, View gradBias, View gradY, View x, View w) {
  const int64_t rows = x.rows(), n = x.cols(), block = 64;
  const float *weight = w.f32(), *g = gradY.f32();
  const int threads = cpu(device).threads();
  if (gradX) {
    with_float(gradX.dtype, [&](auto tgx) {
      using GX = decltype(tgx);
#pragma omp parallel for schedule(static) num_threads(threads) if (rows * n > 32768)
      for (int64_t t = 0; t < rows; t++) {
        GX *out = gradX.row<GX>(t);
        RL_SIMD
        for (int64_t i = 0; i < n; i++) out[i] = from_f32<GX>(g[t] * weight[i]);
      }
    });
  }
  float *gw = gradW.f32();
  with_float(x.dtype, [&](auto tx) {
    using X = decltype(tx);
    // By columns: every thread owns some, so the sum's order does not depend on the number of threads.
#pragma omp parallel for schedule(static) num_threads(threads) if (rows * n > 32768)
    for (int64_t from = 0; from < n; from += block) {
      const int64_t to = from + block < n ? from + block : n;
      for (int64_t t = 0; t < rows; t++) {
        const X *in = x.row<X>(t);
        RL_SIMD
        for (int64_t i = from; i < to; i++) gw[i] += g[t] * to_f32(in[i]);
      }
    }
  });
  if (!gradBias) return;
  double sum = 0;
  for (int64_t t = 0; t < rows; t++) sum += static_cast<double>(g[t]);
  gradBias.f32()[0] += static_cast<float>(sum);
}

}  // namespace rl::cpu::RL_ISA
