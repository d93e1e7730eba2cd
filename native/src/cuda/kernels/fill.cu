// y[...] = value, which an integer tensor can hold (checked before).  y (=)
// Traffic: y written once, the minimum.
#include "cuda/elementwise.h"

namespace rl::cuda {

#if defined(RL_KERNELS)

/// bits: of one element, in the lowest bytes.
template <class T>
DEVICE void fill_with(View y, uint32_t bits) {
  constexpr int kRun = kRunOf<T>;
  const uint32_t word = sizeof(T) == 1 ? bits * 0x01010101u : sizeof(T) == 2 ? bits * 0x00010001u : bits;
  for_each_run<kRun>(y, takes_runs<kRun, T>(y), [&](int64_t t, int64_t c, auto width) {
    T *p = y.row<T>(t) + c;
    if constexpr (decltype(width)::value == 1) {
      *p = static_cast<T>(bits);
    } else {
      store_vector(reinterpret_cast<uint4 *>(p), make_uint4(word, word, word, word));
    }
  });
}

KERNEL(fill_f32, kRunThreads, View y, double value) {
  fill_with<uint32_t>(y, __float_as_uint(static_cast<float>(value)));
}
KERNEL(fill_bf16, kRunThreads, View y, double value) {
  fill_with<uint16_t>(y, __bfloat16_as_ushort(from_f32<bf16>(static_cast<float>(value))));
}
KERNEL(fill_f16, kRunThreads, View y, double value) {
  fill_with<uint16_t>(y, __half_as_ushort(from_f32<f16>(static_cast<float>(value))));
}
KERNEL(fill_i32, kRunThreads, View y, double value) {
  fill_with<uint32_t>(y, static_cast<uint32_t>(static_cast<int32_t>(value)));
}
KERNEL(fill_u8, kRunThreads, View y, double value) { fill_with<uint8_t>(y, static_cast<uint8_t>(value)); }

#else

void fill(Device &device, View y, double value) {
  flatten_if_dense(y);
  gpu(device).launch(kernel_name("fill", {y.dtype}), by_run(y, {y.dtype}), y, value);
}

#endif

}  // namespace rl::cuda
