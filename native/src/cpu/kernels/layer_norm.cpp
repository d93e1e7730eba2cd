// y = w * n + bias with n = (x - mean(x)) * s, s = 1 / sqrt(var(x) + eps), per row; var is the mean of squares.  y (=)
// With g = gradY * w: gradX = s * (g - mean(g) - n * mean(g n))  (=);  gradW += sum over rows of gradY * n, gradBias += of gradY.
#include <omp.h>

#include "cpu/kernels/kernels.h"
#include "cpu/kernels/simd.h"

namespace rl::cpu::RL_ISA {
namespace {

struct Moments {
  float mean, inverse;  // inverse: 1 / sqrt(var + eps)
};

template <class X>
RL_INLINE Moments moments(const X *x, int64_t n, float eps) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; i++) sum += to_f32(x[i]);
  const float mean = sum / static_cast<float>(n);
  float squares = 0;  // in a second sweep: the difference of two large sums would lose the variance
#pragma omp simd reduction(+ : squares)
  for (int64_t i = 0; i < n; i++) squares += (to_f32(x[i]) - mean) * (to_f32(x[i]) - mean);
  return {mean, 1.0f / __builtin_sqrtf(squares / static_cast<float>(n) + eps)};
}

}  // namespace

void layer_norm(Device &device, View y, View x, View w, View bias, float eps) {
  const int64_t rows = x.rows(), n = x.cols();
  const float *weight = w.f32(), *shift = bias.f32();
  with_float(x.dtype, [&](auto tx) {
    with_float(y.dtype, [&](auto ty) {
      using X = decltype(tx);
      using Y = decltype(ty);
#pragma omp parallel for schedule(static) num_threads(cpu(device).threads()) if (rows * n > 8192)
      for (int64_t t = 0; t < rows; t++) {
        const X *in = x.row<X>(t);
        Y *out = y.row<Y>(t);
        const Moments m = moments(in, n, eps);
        RL_SIMD
        for (int64_t i = 0; i < n; i++) {
          out[i] = from_f32<Y>(weight[i] * ((to_f32(in[i]) - m.mean) * m.inverse) + shift[i]);
        }
      }
    });
  });
}

void layer_norm_backward(Device &device, View gradX, View gradW, View gradBias, View gradY, View x, View w, float eps) {
  const int64_t rows = x.rows(), n = x.cols();
  const float *weight = w.f32();
  Moments *row_moments = cpu(device).scratch<Moments>(rows);
  with_float(x.dtype, [&](auto tx) {
    with_float(gradX.dtype, [&](auto tgx) {
      with_float(gradY.dtype, [&](auto tgy) {
        using X = decltype(tx);
        using GX = decltype(tgx);
        using GY = decltype(tgy);
#pragma omp parallel for schedule(static) num_threads(cpu(device).threads()) if (rows * n > 8192)
        for (int64_t t = 0; t < rows; t++) {
          const X *in = x.row<X>(t);
          const GY *gy = gradY.row<GY>(t);
          GX *gx = gradX.row<GX>(t);
          const Moments m = row_moments[t] = moments(in, n, eps);
          float sum = 0, dot = 0;
#pragma omp simd reduction(+ : sum, dot)
          for (int64_t i = 0; i < n; i++) {
            const float g = to_f32(gy[i]) * weight[i];
            sum += g;
            dot += g * (to_f32(in[i]) - m.mean);
          }
          const float mean = sum / static_cast<float>(n), c = dot * m.inverse * m.inverse / static_cast<float>(n);
          RL_SIMD
          for (int64_t i = 0; i < n; i++) {
            gx[i] = from_f32<GX>(m.inverse * (to_f32(gy[i]) * weight[i] - mean - (to_f32(in[i]) - m.mean) * c));
          }
        }
        if (!gradW) return;
        // By columns: every thread owns some, so the sum's order does not depend on the number of threads.
        float *gw = gradW.f32(), *gb = gradBias.f32();
        const int64_t block = 64;
#pragma omp parallel for schedule(static) num_threads(cpu(device).threads()) if (rows * n > 8192)
        for (int64_t from = 0; from < n; from += block) {
          const int64_t to = from + block < n ? from + block : n;
          for (int64_t t = 0; t < rows; t++) {
            const X *in = x.row<X>(t);
            const GY *gy = gradY.row<GY>(t);
            const Moments m = row_moments[t];
            RL_SIMD
            for (int64_t i = from; i < to; i++) {
              gw[i] += to_f32(gy[i]) * (to_f32(in[i]) - m.mean) * m.inverse;
              gb[i] += to_f32(gy[i]);
            }
          }
        }
      });
    });
  });
}

}  // namespace rl::cpu::RL_ISA
