// y[t] = x[t] . w + bias  (=);  gradX[t] = gradY[t] w  (=);  gradW += sum gradY[t] x[t];  gradBias += sum gradY[t].
#include "cpu/kernels/kernels.h"
#include "cpu/kernels/simd.h"

namespace rl::cpu::RL_ISA {

void scalar_head(Device &, View y, View x, View w, View bias) {
  const int64_t n = x.cols();
  const float *weight = w.f32(), add = bias ? bias.f32()[0] : 0.0f;
  with_float(x.dtype, [&](auto type) {
    using T = decltype(type);
    for (int64_t t = 0; t < x.rows(); t++) {
      const T *in = x.row<T>(t);
      float sum = 0;
#pragma omp simd reduction(+ : sum)
      for (int64_t i = 0; i < n; i++) sum += to_f32(in[i]) * weight[i];
      y.f32()[t] = sum + add;
    }
  });
}

void scalar_head_backward(Device &, View gradX, View gradW, View gradBias, View gradY, View x, View w) {
  const int64_t n = x.cols();
  const float *weight = w.f32(), *g = gradY.f32();
  with_float(x.dtype, [&](auto type) {
    using T = decltype(type);
    for (int64_t t = 0; t < x.rows(); t++) {
      const float gt = g[t];
      if (gradX) {
        T *out = gradX.row<T>(t);
        RL_SIMD
        for (int64_t i = 0; i < n; i++) out[i] = from_f32<T>(gt * weight[i]);
      }
      if (gradW) {
        const T *in = x.row<T>(t);
        float *out = gradW.f32();
        RL_SIMD
        for (int64_t i = 0; i < n; i++) out[i] += gt * to_f32(in[i]);
      }
      if (gradBias) gradBias.f32()[0] += gt;
    }
  });
}

}  // namespace rl::cpu::RL_ISA
