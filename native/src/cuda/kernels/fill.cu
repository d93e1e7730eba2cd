// y[...] = value, which an integer tensor can hold (checked before).  y (=)
#include "cuda/op.h"

namespace rl::cuda {

constexpr int kThreads = 256;

#if defined(RL_KERNELS)

template <class T>
DEVICE void fill_with(View y, T value) {
  const int64_t c = thread_of_grid();
  if (c >= y.cols()) return;
  for (int64_t t = blockIdx.y; t < y.rows(); t += gridDim.y) y.row<T>(t)[c] = value;
}

KERNEL(fill_f32, kThreads, View y, double value) { fill_with(y, static_cast<float>(value)); }
KERNEL(fill_bf16, kThreads, View y, double value) { fill_with(y, from_f32<bf16>(static_cast<float>(value))); }
KERNEL(fill_f16, kThreads, View y, double value) { fill_with(y, from_f32<f16>(static_cast<float>(value))); }
KERNEL(fill_i32, kThreads, View y, double value) { fill_with(y, static_cast<int32_t>(value)); }
KERNEL(fill_u8, kThreads, View y, double value) { fill_with(y, static_cast<uint8_t>(value)); }

#else

void fill(Device &device, View y, double value) {
  flatten_if_dense(y);
  gpu(device).launch(kernel_name("fill", {y.dtype}), by_rows_and_columns(y, kThreads), y, value);
}

#endif

}  // namespace rl::cuda
