// y = x, converting between f32, bf16 and f16 where the dtypes differ.  y (=)
// Traffic: each element read once and written once.
#include "cuda/op.h"

namespace rl::cuda {

constexpr int kThreads = 256;

#if defined(RL_KERNELS)

template <class Y, class X>
DEVICE void convert(View y, View x) {
  const int64_t c = thread_of_grid();
  if (c >= y.cols()) return;
  for (int64_t t = blockIdx.y; t < y.rows(); t += gridDim.y) y.row<Y>(t)[c] = from_f32<Y>(to_f32(x.row<X>(t)[c]));
}

template <class T>
DEVICE void copy_bits(View y, View x) {
  const int64_t c = thread_of_grid();
  if (c >= y.cols()) return;
  for (int64_t t = blockIdx.y; t < y.rows(); t += gridDim.y) y.row<T>(t)[c] = x.row<T>(t)[c];
}

#define COPY(Y, X) \
  KERNEL(copy_##Y##_##X, kThreads, View y, View x) { convert<Y, X>(y, x); }
COPY(f32, bf16)
COPY(f32, f16)
COPY(bf16, f32)
COPY(bf16, f16)
COPY(f16, f32)
COPY(f16, bf16)
KERNEL(copy_bytes_1, kThreads, View y, View x) { copy_bits<uint8_t>(y, x); }
KERNEL(copy_bytes_2, kThreads, View y, View x) { copy_bits<uint16_t>(y, x); }
KERNEL(copy_bytes_4, kThreads, View y, View x) { copy_bits<uint32_t>(y, x); }

#else

void copy(Device &device, View y, View x) {
  flatten_if_dense(y, x);
  const std::string kernel = y.dtype == x.dtype ? "copy_bytes_" + std::to_string(dtype_size(x.dtype))
                                                : kernel_name("copy", {y.dtype, x.dtype});
  gpu(device).launch(kernel, by_rows_and_columns(y, kThreads), y, x);
}

#endif

}  // namespace rl::cuda
