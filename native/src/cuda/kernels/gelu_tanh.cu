// y = gelu(x) * up, gelu(x) = x/2 (1 + tanh(u)) = x sigmoid(2u) with 2u = x (a + b x^2); without up, y = gelu(x).  y (=)
// With s = sigmoid(2u): gelu'(x) = s + x s (1 - s) (a + 3 b x^2);  gradX = gradY up gelu'(x), gradUp = gradY gelu(x).  Both (=).
// Traffic: every tensor is read or written once, the minimum.
#include "cuda/elementwise.h"

namespace rl::cuda {

#if defined(RL_KERNELS)

constexpr float kA = 1.5957691216f, kB = 0.0713548163f;  // 2 sqrt(2/pi), and that times 0.044715

struct Gelu {
  float value, slope;
};
DEVICE Gelu gelu(float x) {
  // x^2 is held where the sigmoid has long been 0 or 1, so that no product is 0 * infinity.
  const float square = x * x < 1e4f ? x * x : 1e4f;
  const float s = 1.0f / (1.0f + expf(-x * (kA + kB * square)));
  return {x * s, s + x * s * (1.0f - s) * (kA + 3.0f * kB * square)};
}

template <class T>
DEVICE void forward(View y, View x, View up) {
  constexpr int kRun = kRunOf<T>;
  const bool vectors = takes_runs<kRun, T>(y) && takes_runs<kRun, T>(x) && takes_runs<kRun, T>(up);
  for_each_run<kRun>(y, vectors, [&](int64_t t, int64_t c, auto width) {
    constexpr int kWidth = decltype(width)::value;
    float v[kWidth], u[kWidth];
    read_run(v, x.row<T>(t) + c);
    if (up) read_run(u, up.row<T>(t) + c);
#pragma unroll
    for (int i = 0; i < kWidth; i++) v[i] = up ? gelu(v[i]).value * u[i] : gelu(v[i]).value;
    write_run(y.row<T>(t) + c, v);
  });
}

template <class T>
DEVICE void backward(View gradX, View gradUp, View gradY, View x, View up) {
  constexpr int kRun = kRunOf<T>;
  const bool vectors = takes_runs<kRun, T>(gradX) && takes_runs<kRun, T>(gradUp) && takes_runs<kRun, T>(gradY) &&
                       takes_runs<kRun, T>(x) && takes_runs<kRun, T>(up);
  for_each_run<kRun>(gradY, vectors, [&](int64_t t, int64_t c, auto width) {
    constexpr int kWidth = decltype(width)::value;
    float v[kWidth], gy[kWidth], u[kWidth];
    read_run(v, x.row<T>(t) + c);
    read_run(gy, gradY.row<T>(t) + c);
    if (up) read_run(u, up.row<T>(t) + c);
#pragma unroll
    for (int i = 0; i < kWidth; i++) {
      const Gelu g = gelu(v[i]);
      v[i] = gy[i] * (up ? u[i] : 1.0f) * g.slope;
      gy[i] *= g.value;
    }
    write_run(gradX.row<T>(t) + c, v);
    if (up) write_run(gradUp.row<T>(t) + c, gy);
  });
}

#define GELU_TANH(T)                                                                                  \
  KERNEL(gelu_tanh_##T, kRunThreads, View y, View x, View up) { forward<T>(y, x, up); }               \
  KERNEL(gelu_tanh_backward_##T, kRunThreads, View gradX, View gradUp, View gradY, View x, View up) { \
    backward<T>(gradX, gradUp, gradY, x, up);                                                         \
  }
FOR_FLOATS(GELU_TANH)

#else

void gelu_tanh(Device &device, View y, View x, View up) {
  if (up) {
    flatten_if_dense(y, x, up);
  } else {
    flatten_if_dense(y, x);
  }
  gpu(device).launch(kernel_name("gelu_tanh", {y.dtype}), by_run(y, {y.dtype}), y, x, up);
}

void gelu_tanh_backward(Device &device, View gradX, View gradUp, View gradY, View x, View up) {
  if (up) {
    flatten_if_dense(gradY, x, gradX, up, gradUp);
  } else {
    flatten_if_dense(gradY, x, gradX);
  }
  gpu(device).launch(kernel_name("gelu_tanh_backward", {gradY.dtype}), by_run(gradY, {gradY.dtype}), gradX, gradUp,
                     gradY, x, up);
}

#endif

}  // namespace rl::cuda
