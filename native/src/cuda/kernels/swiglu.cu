// y = silu(gate) * up.  y (=)
// With s = sigmoid(gate): gradUp = gradY * gate * s;  gradGate = gradY * up * s * (1 + gate * (1 - s)).  Both (=).
#include "cuda/op.h"

namespace rl::cuda {

constexpr int kThreads = 256;

#if defined(RL_KERNELS)

DEVICE float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }  // exp may overflow to infinity: 0, as it should be

template <class T>
DEVICE void forward(View y, View gate, View up) {
  const int64_t c = thread_of_grid();
  if (c >= y.cols()) return;
  for (int64_t t = blockIdx.y; t < y.rows(); t += gridDim.y) {
    const float g = to_f32(gate.row<T>(t)[c]);
    y.row<T>(t)[c] = from_f32<T>(g * sigmoid(g) * to_f32(up.row<T>(t)[c]));
  }
}

template <class T>
DEVICE void backward(View gradGate, View gradUp, View gradY, View gate, View up) {
  const int64_t c = thread_of_grid();
  if (c >= gradY.cols()) return;
  for (int64_t t = blockIdx.y; t < gradY.rows(); t += gridDim.y) {
    const float g = to_f32(gate.row<T>(t)[c]), u = to_f32(up.row<T>(t)[c]), d = to_f32(gradY.row<T>(t)[c]);
    const float s = sigmoid(g);
    gradUp.row<T>(t)[c] = from_f32<T>(d * g * s);
    gradGate.row<T>(t)[c] = from_f32<T>(d * u * s * (1.0f + g * (1.0f - s)));
  }
}

#define SWIGLU(T)                                                                                     \
  KERNEL(swiglu_##T, kThreads, View y, View gate, View up) { forward<T>(y, gate, up); }               \
  KERNEL(swiglu_backward_##T, kThreads, View gradGate, View gradUp, View gradY, View gate, View up) { \
    backward<T>(gradGate, gradUp, gradY, gate, up);                                                   \
  }
FOR_FLOATS(SWIGLU)

#else

void swiglu(Device &device, View y, View gate, View up) {
  flatten_if_dense(y, gate, up);
  gpu(device).launch(kernel_name("swiglu", {y.dtype}), by_rows_and_columns(y, kThreads), y, gate, up);
}

void swiglu_backward(Device &device, View gradGate, View gradUp, View gradY, View gate, View up) {
  flatten_if_dense(gradY, gate, up, gradGate, gradUp);
  gpu(device).launch(kernel_name("swiglu_backward", {gradY.dtype}), by_rows_and_columns(gradY, kThreads), gradGate,
                     gradUp, gradY, gate, up);
}

#endif

}  // namespace rl::cuda
