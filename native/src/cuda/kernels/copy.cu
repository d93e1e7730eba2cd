// y = x, converting between f32, bf16 and f16 where the dtypes differ.  y (=)
// Traffic: x read once, y written once, the minimum.
#include "cuda/elementwise.h"

namespace rl::cuda {

#if defined(RL_KERNELS)

template <class Y, class X>
DEVICE void convert(View y, View x) {
  constexpr int kRun = kRunOf<Y, X>;
  for_each_run<kRun>(y, takes_runs<kRun, Y>(y) && takes_runs<kRun, X>(x), [&](int64_t t, int64_t c, auto width) {
    float v[decltype(width)::value];
    read_run(v, x.row<X>(t) + c);
    write_run(y.row<Y>(t) + c, v);
  });
}

template <class T>
DEVICE void copy_bits(View y, View x) {
  constexpr int kRun = kRunOf<T>;
  for_each_run<kRun>(y, takes_runs<kRun, T>(y) && takes_runs<kRun, T>(x), [&](int64_t t, int64_t c, auto width) {
    copy_run<decltype(width)::value>(y.row<T>(t) + c, x.row<T>(t) + c);
  });
}

#define COPY(Y, X) \
  KERNEL(copy_##Y##_##X, kRunThreads, View y, View x) { convert<Y, X>(y, x); }
COPY(f32, bf16)
COPY(f32, f16)
COPY(bf16, f32)
COPY(bf16, f16)
COPY(f16, f32)
COPY(f16, bf16)
KERNEL(copy_bytes_1, kRunThreads, View y, View x) { copy_bits<uint8_t>(y, x); }
KERNEL(copy_bytes_2, kRunThreads, View y, View x) { copy_bits<uint16_t>(y, x); }
KERNEL(copy_bytes_4, kRunThreads, View y, View x) { copy_bits<uint32_t>(y, x); }

#else

void copy(Device &device, View y, View x) {
  flatten_if_dense(y, x);
  if (y.dtype == x.dtype && y.rows() == 1) {  // flat now, or a row
    gpu(device).copy_on_device(y.data, x.data, y.elements() * dtype_size(y.dtype));
    return;
  }
  const std::string kernel = y.dtype == x.dtype ? "copy_bytes_" + std::to_string(dtype_size(x.dtype))
                                                : kernel_name("copy", {y.dtype, x.dtype});
  gpu(device).launch(kernel, by_run(y, {y.dtype, x.dtype}), y, x);
}

#endif

}  // namespace rl::cuda
