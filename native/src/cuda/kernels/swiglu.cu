// y = silu(gate) * up.  y (=)
// With s = sigmoid(gate): gradUp = gradY * gate * s;  gradGate = gradY * up * s * (1 + gate * (1 - s)).  Both (=).
// Traffic: every tensor is read or written once, the minimum.
#include "cuda/elementwise.h"

namespace rl::cuda {

#if defined(RL_KERNELS)

DEVICE float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }  // exp may overflow to infinity: 0, as it should be

template <class T>
DEVICE void forward(View y, View gate, View up) {
  constexpr int kRun = kRunOf<T>;
  const bool vectors = takes_runs<kRun, T>(y) && takes_runs<kRun, T>(gate) && takes_runs<kRun, T>(up);
  for_each_run<kRun>(y, vectors, [&](int64_t t, int64_t c, auto width) {
    constexpr int kWidth = decltype(width)::value;
    float g[kWidth], u[kWidth];
    read_run(g, gate.row<T>(t) + c);
    read_run(u, up.row<T>(t) + c);
#pragma unroll
    for (int i = 0; i < kWidth; i++) u[i] = g[i] * sigmoid(g[i]) * u[i];
    write_run(y.row<T>(t) + c, u);
  });
}

template <class T>
DEVICE void backward(View gradGate, View gradUp, View gradY, View gate, View up) {
  constexpr int kRun = kRunOf<T>;
  const bool vectors = takes_runs<kRun, T>(gradGate) && takes_runs<kRun, T>(gradUp) && takes_runs<kRun, T>(gradY) &&
                       takes_runs<kRun, T>(gate) && takes_runs<kRun, T>(up);
  for_each_run<kRun>(gradY, vectors, [&](int64_t t, int64_t c, auto width) {
    constexpr int kWidth = decltype(width)::value;
    float g[kWidth], u[kWidth], d[kWidth];
    read_run(g, gate.row<T>(t) + c);
    read_run(u, up.row<T>(t) + c);
    read_run(d, gradY.row<T>(t) + c);
#pragma unroll
    for (int i = 0; i < kWidth; i++) {
      const float s = sigmoid(g[i]), of_up = d[i] * g[i] * s;
      u[i] = d[i] * u[i] * s * (1.0f + g[i] * (1.0f - s));
      d[i] = of_up;
    }
    write_run(gradUp.row<T>(t) + c, d);
    write_run(gradGate.row<T>(t) + c, u);
  });
}

#define SWIGLU(T)                                                                                        \
  KERNEL(swiglu_##T, kRunThreads, View y, View gate, View up) { forward<T>(y, gate, up); }               \
  KERNEL(swiglu_backward_##T, kRunThreads, View gradGate, View gradUp, View gradY, View gate, View up) { \
    backward<T>(gradGate, gradUp, gradY, gate, up);                                                      \
  }
FOR_FLOATS(SWIGLU)

#else

void swiglu(Device &device, View y, View gate, View up) {
  flatten_if_dense(y, gate, up);
  gpu(device).launch(kernel_name("swiglu", {y.dtype}), by_run(y, {y.dtype}), y, gate, up);
}

void swiglu_backward(Device &device, View gradGate, View gradUp, View gradY, View gate, View up) {
  flatten_if_dense(gradY, gate, up, gradGate, gradUp);
  gpu(device).launch(kernel_name("swiglu_backward", {gradY.dtype}), by_run(gradY, {gradY.dtype}), gradGate, gradUp,
                     gradY, gate, up);
}

#endif

}  // namespace rl::cuda
