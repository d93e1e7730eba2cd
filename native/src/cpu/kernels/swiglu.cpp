// y = silu(gate) * up.  y (=)
// With s = sigmoid(gate): gradUp = gradY * gate * s;  gradGate = gradY * up * s * (1 + gate * (1 - s)).  Both (=).
#include "cpu/kernels/pieces.h"
#include "cpu/kernels/tile.h"

namespace rl::cpu::RL_ISA {
namespace {

template <class V>
RL_INLINE V silu_times(V gate, V up) {
  return gate * sigmoid(gate) * up;
}
template <class V>
RL_INLINE V grad_up(V gradY, V gate) {
  return gradY * gate * sigmoid(gate);
}
template <class V>
RL_INLINE V grad_gate(V gradY, V gate, V up) {
  const V s = sigmoid(gate);
  return gradY * up * s * (1.0f + gate * (1.0f - s));
}

}  // namespace

void swiglu(Device &device, View y, View gate, View up) {
  const Pieces pieces(y, gate, up);
  with_float(y.dtype, [&](auto type) {
    using T = decltype(type);
#pragma omp parallel for schedule(static) num_threads(cpu(device).threads()) if (pieces.total() > 16384)
    for (int64_t t = 0; t < pieces.count(); t++) {
      const T *g = pieces.at<T>(gate, t), *u = pieces.at<T>(up, t);
      for_row(
          pieces.at<T>(y, t), pieces.length(t), [&](int64_t i) { return silu_times(load(g + i), load(u + i)); },
          [&](int64_t i) { return silu_times(to_f32(g[i]), to_f32(u[i])); });
    }
  });
}

void swiglu_backward(Device &device, View gradGate, View gradUp, View gradY, View gate, View up) {
  const Pieces pieces(gradY, gate, up, gradGate, gradUp);
  with_float(gradY.dtype, [&](auto type) {
    using T = decltype(type);
#pragma omp parallel for schedule(static) num_threads(cpu(device).threads()) if (pieces.total() > 16384)
    for (int64_t t = 0; t < pieces.count(); t++) {
      const T *g = pieces.at<T>(gate, t), *u = pieces.at<T>(up, t), *gy = pieces.at<T>(gradY, t);
      T *gg = pieces.at<T>(gradGate, t), *gu = pieces.at<T>(gradUp, t);
      const int64_t n = pieces.length(t);
      int64_t i = 0;
      for (; i + kWidth <= n; i += kWidth) {
        const vecf x = load(g + i), d = load(gy + i), b = load(u + i);
        store(gu + i, grad_up(d, x));
        store(gg + i, grad_gate(d, x, b));
      }
      for (; i < n; i++) {
        const float x = to_f32(g[i]), d = to_f32(gy[i]), b = to_f32(u[i]);
        gu[i] = from_f32<T>(grad_up(d, x));
        gg[i] = from_f32<T>(grad_gate(d, x, b));
      }
    }
  });
}

}  // namespace rl::cpu::RL_ISA
