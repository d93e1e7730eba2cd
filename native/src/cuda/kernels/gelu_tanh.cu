// y = gelu(x) * up, gelu(x) = x/2 (1 + tanh(u)) = x sigmoid(2u) with 2u = x (a + b x^2); without up, y = gelu(x).  y (=)
// With s = sigmoid(2u): gelu'(x) = s + x s (1 - s) (a + 3 b x^2);  gradX = gradY up gelu'(x), gradUp = gradY gelu(x).  Both (=).
// Every tensor is read or written once.
#include "cuda/op.h"

namespace rl::cuda {

constexpr int kThreads = 256;

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
  const int64_t c = thread_of_grid();
  if (c >= y.cols()) return;
  for (int64_t t = blockIdx.y; t < y.rows(); t += gridDim.y) {
    const float value = gelu(to_f32(x.row<T>(t)[c])).value;
    y.row<T>(t)[c] = from_f32<T>(up ? value * to_f32(up.row<T>(t)[c]) : value);
  }
}

template <class T>
DEVICE void backward(View gradX, View gradUp, View gradY, View x, View up) {
  const int64_t c = thread_of_grid();
  if (c >= gradY.cols()) return;
  for (int64_t t = blockIdx.y; t < gradY.rows(); t += gridDim.y) {
    const Gelu g = gelu(to_f32(x.row<T>(t)[c]));
    const float gy = to_f32(gradY.row<T>(t)[c]), u = up ? to_f32(up.row<T>(t)[c]) : 1.0f;
    gradX.row<T>(t)[c] = from_f32<T>(gy * u * g.slope);
    if (up) gradUp.row<T>(t)[c] = from_f32<T>(gy * g.value);
  }
}

#define GELU_TANH(T)                                                                               \
  KERNEL(gelu_tanh_##T, kThreads, View y, View x, View up) { forward<T>(y, x, up); }               \
  KERNEL(gelu_tanh_backward_##T, kThreads, View gradX, View gradUp, View gradY, View x, View up) { \
    backward<T>(gradX, gradUp, gradY, x, up);                                                      \
  }
FOR_FLOATS(GELU_TANH)

#else

void gelu_tanh(Device &device, View y, View x, View up) {
  if (up) {
    flatten_if_dense(y, x, up);
  } else {
    flatten_if_dense(y, x);
  }
  gpu(device).launch(kernel_name("gelu_tanh", {y.dtype}), by_rows_and_columns(y, kThreads), y, x, up);
}

void gelu_tanh_backward(Device &device, View gradX, View gradUp, View gradY, View x, View up) {
  if (up) {
    flatten_if_dense(gradY, x, gradX, up, gradUp);
  } else {
    flatten_if_dense(gradY, x, gradX);
  }
  gpu(device).launch(kernel_name("gelu_tanh_backward", {gradY.dtype}), by_rows_and_columns(gradY, kThreads), gradX,
                     gradUp, gradY, x, up);
}

#endif

}  // namespace rl::cuda
