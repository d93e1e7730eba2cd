// Half rotation: for i < D/2, angle = positions[t] * invFreq[i],
//   y[i] = x[i] cos - x[i+D/2] sin,  y[i+D/2] = x[i+D/2] cos + x[i] sin.  Backwards with -sin.  y (=), may be x itself.
#include "cpu/kernels/indices.h"
#include "cpu/kernels/simd.h"

namespace rl::cpu::RL_ISA {

void rope(Device &device, View y, View x, View positions, View invFreq, bool inverse) {
  check_indices("positions", positions, int64_t{1} << 31);
  const int64_t rows = x.rows(), heads = x.shape[1], half = x.shape[2] / 2;
  const float *inv = invFreq.f32();
  // The sines of a row serve all of its heads.
  float *table = cpu(device).scratch<float>(rows * half * 2);
#pragma omp parallel for schedule(static) num_threads(cpu(device).threads()) if (rows * half > 256)
  for (int64_t t = 0; t < rows; t++) {
    float *cosine = table + t * half * 2, *sine = cosine + half;
    const float position = static_cast<float>(positions.i32()[t]);
    for (int64_t i = 0; i < half; i++) {
      const float angle = position * inv[i];
      cosine[i] = __builtin_cosf(angle);
      sine[i] = inverse ? -__builtin_sinf(angle) : __builtin_sinf(angle);
    }
    with_float(x.dtype, [&](auto type) {
      using T = decltype(type);
      for (int64_t h = 0; h < heads; h++) {
        const T *in = x.row<T>(t) + h * half * 2;
        T *out = y.row<T>(t) + h * half * 2;
        RL_SIMD
        for (int64_t i = 0; i < half; i++) {
          const float a = to_f32(in[i]), b = to_f32(in[i + half]);
          out[i] = from_f32<T>(a * cosine[i] - b * sine[i]);
          out[i + half] = from_f32<T>(b * cosine[i] + a * sine[i]);
        }
      }
    });
  }
}

}  // namespace rl::cpu::RL_ISA
