// y = w * x * s with s = 1 / sqrt(mean(x^2) + eps), per row, or per head of a row.  y (=)
// gradX = s * (gradY w - x s^2 mean(gradY w x))  (=);  gradW += sum over rows of gradY * x * s.
#include <omp.h>

#include "cpu/kernels/kernels.h"
#include "cpu/kernels/simd.h"

namespace rl::cpu::RL_ISA {
namespace {

template <class X>
RL_INLINE float inverse_rms(const X *x, int64_t n, float eps) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; i++) sum += to_f32(x[i]) * to_f32(x[i]);
  return 1.0f / __builtin_sqrtf(sum / static_cast<float>(n) + eps);
}

/// The vectors that are normalised: rows [T,H], or the heads of rows [T,heads,H].
struct Vectors {
  int64_t heads, length, count;
  RL_INLINE explicit Vectors(const View &x)
      : heads(x.rank == 3 ? x.shape[1] : 1), length(x.shape[x.rank - 1]), count(x.rows() * heads) {}
  template <class T>
  RL_INLINE T *at(const View &view, int64_t i) const {
    if (heads == 1) return view.row<T>(i);  // a division takes as long as a short row
    return view.row<T>(i / heads) + i % heads * length;
  }
};

}  // namespace

void rms_norm(Device &device, View y, View x, View w, float eps) {
  const Vectors vectors(x);
  const int64_t rows = vectors.count, n = vectors.length;
  const float *weight = w.f32();
  with_float(x.dtype, [&](auto tx) {
    with_float(y.dtype, [&](auto ty) {
      using X = decltype(tx);
      using Y = decltype(ty);
#pragma omp parallel for schedule(static) num_threads(cpu(device).threads()) if (rows * n > 8192)
      for (int64_t t = 0; t < rows; t++) {
        const X *in = vectors.at<X>(x, t);
        Y *out = vectors.at<Y>(y, t);
        const float s = inverse_rms(in, n, eps);
        RL_SIMD
        for (int64_t i = 0; i < n; i++) out[i] = from_f32<Y>(weight[i] * (to_f32(in[i]) * s));
      }
    });
  });
}

void rms_norm_backward(Device &device, View gradX, View gradW, View gradY, View x, View w, float eps) {
  const Vectors vectors(x);
  const int64_t rows = vectors.count, n = vectors.length;
  const float *weight = w.f32();
  float *inverse = cpu(device).scratch<float>(rows);
  with_float(x.dtype, [&](auto tx) {
    with_float(gradX.dtype, [&](auto tgx) {
      with_float(gradY.dtype, [&](auto tgy) {
        using X = decltype(tx);
        using GX = decltype(tgx);
        using GY = decltype(tgy);
#pragma omp parallel for schedule(static) num_threads(cpu(device).threads()) if (rows * n > 8192)
        for (int64_t t = 0; t < rows; t++) {
          const X *in = vectors.at<X>(x, t);
          const GY *gy = vectors.at<GY>(gradY, t);
          GX *gx = vectors.at<GX>(gradX, t);
          const float s = inverse_rms(in, n, eps);
          inverse[t] = s;
          float dot = 0;
#pragma omp simd reduction(+ : dot)
          for (int64_t i = 0; i < n; i++) dot += to_f32(gy[i]) * weight[i] * to_f32(in[i]);
          const float c = dot * s * s / static_cast<float>(n);
          RL_SIMD
          for (int64_t i = 0; i < n; i++) gx[i] = from_f32<GX>(s * (to_f32(gy[i]) * weight[i] - to_f32(in[i]) * c));
        }
        if (!gradW) return;
        // By columns: every thread owns some, so the sum's order does not depend on the number of threads.
        float *gw = gradW.f32();
        const int64_t block = 64;
#pragma omp parallel for schedule(static) num_threads(cpu(device).threads()) if (rows * n > 8192)
        for (int64_t from = 0; from < n; from += block) {
          const int64_t to = from + block < n ? from + block : n;
          for (int64_t t = 0; t < rows; t++) {
            const X *in = vectors.at<X>(x, t);
            const GY *gy = vectors.at<GY>(gradY, t);
            const float s = inverse[t];
            RL_SIMD
            for (int64_t i = from; i < to; i++) gw[i] += to_f32(gy[i]) * to_f32(in[i]) * s;
          }
        }
      });
    });
  });
}

}  // namespace rl::cpu::RL_ISA
