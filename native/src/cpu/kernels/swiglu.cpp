// y = silu(gate) * up.  y (=)
// With s = sigmoid(gate): gradUp = gradY * gate * s;  gradGate = gradY * up * s * (1 + gate * (1 - s)).  Both (=).
#include "cpu/kernels/kernels.h"
#include "cpu/kernels/simd.h"

namespace rl::cpu::RL_ISA {

void swiglu(Device &device, View y, View gate, View up) {
  const int64_t rows = y.rows(), n = y.cols();
  with_float(y.dtype, [&](auto type) {
    using T = decltype(type);
#pragma omp parallel for schedule(static) num_threads(cpu(device).threads()) if (rows * n > 16384)
    for (int64_t t = 0; t < rows; t++) {
      const T *g = gate.row<T>(t), *u = up.row<T>(t);
      T *out = y.row<T>(t);
      RL_SIMD
      for (int64_t i = 0; i < n; i++) {
        const float x = to_f32(g[i]);
        out[i] = from_f32<T>(x * sigmoid_f32(x) * to_f32(u[i]));
      }
    }
  });
}

void swiglu_backward(Device &device, View gradGate, View gradUp, View gradY, View gate, View up) {
  const int64_t rows = gradY.rows(), n = gradY.cols();
  with_float(gradY.dtype, [&](auto type) {
    using T = decltype(type);
#pragma omp parallel for schedule(static) num_threads(cpu(device).threads()) if (rows * n > 16384)
    for (int64_t t = 0; t < rows; t++) {
      const T *g = gate.row<T>(t), *u = up.row<T>(t), *gy = gradY.row<T>(t);
      T *gg = gradGate.row<T>(t), *gu = gradUp.row<T>(t);
      RL_SIMD
      for (int64_t i = 0; i < n; i++) {
        const float x = to_f32(g[i]), d = to_f32(gy[i]), s = sigmoid_f32(x);
        gu[i] = from_f32<T>(d * x * s);
        gg[i] = from_f32<T>(d * to_f32(u[i]) * s * (1.0f + x * (1.0f - s)));
      }
    }
  });
}

}  // namespace rl::cpu::RL_ISA
