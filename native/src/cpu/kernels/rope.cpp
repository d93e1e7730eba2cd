// rope_table: table[t] = cos(positions[t] f) | sin(positions[t] f), f = invFreq[0] + invFreq[1], in double.  (=)
// rope, half rotation of the first R columns of a head (R is the table's width): for i < R/2, y[i] = x[i] cos - x[i+R/2] sin,
// y[i+R/2] = x[i+R/2] cos + x[i] sin; backwards with -sin. The columns from R on are copied.  y (=), may be x itself.
#include "cpu/kernels/indices.h"
#include "cpu/kernels/simd.h"

namespace rl::cpu::RL_ISA {

void rope_table(Device &device, View table, View positions, View invFreq) {
  check_indices("positions", positions, int64_t{1} << 31);
  const int64_t rows = table.rows(), half = table.cols() / 2;
  const float *high = invFreq.f32(), *low = high + half;
#pragma omp parallel for schedule(static) num_threads(cpu(device).threads()) if (rows * half > 256)
  for (int64_t t = 0; t < rows; t++) {
    float *cosine = table.row<float>(t), *sine = cosine + half;
    for (int64_t i = 0; i < half; i++) {
      const double angle = positions.i32()[t] * (static_cast<double>(high[i]) + static_cast<double>(low[i]));
      cosine[i] = static_cast<float>(__builtin_cos(angle));
      sine[i] = static_cast<float>(__builtin_sin(angle));
    }
  }
}

void rope(Device &device, View y, View x, View table, bool inverse) {
  const int64_t rows = x.rows(), heads = x.shape[1], size = x.shape[2], half = table.cols() / 2;
  const float sign = inverse ? -1.0f : 1.0f;
  with_float(x.dtype, [&](auto type) {
    using T = decltype(type);
#pragma omp parallel for schedule(static) num_threads(cpu(device).threads()) if (rows * heads * half > 16384)
    for (int64_t t = 0; t < rows; t++) {
      const float *cosine = table.row<float>(t), *sine = cosine + half;
      for (int64_t h = 0; h < heads; h++) {
        const T *in = x.row<T>(t) + h * size;
        T *out = y.row<T>(t) + h * size;
        RL_SIMD
        for (int64_t i = 0; i < half; i++) {
          const float a = to_f32(in[i]), b = to_f32(in[i + half]), s = sine[i] * sign;
          out[i] = from_f32<T>(a * cosine[i] - b * s);
          out[i + half] = from_f32<T>(b * cosine[i] + a * s);
        }
        for (int64_t i = 2 * half; out != in && i < size; i++) out[i] = in[i];
      }
    }
  });
}

}  // namespace rl::cpu::RL_ISA
