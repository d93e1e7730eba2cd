// y = x, converting between f32, bf16 and f16 where the dtypes differ.  y (=)
#include "cpu/kernels/kernels.h"
#include "cpu/kernels/simd.h"

namespace rl::cpu::RL_ISA {
namespace {

using f16 = _Float16;

RL_INLINE float widen(float x) { return x; }
RL_INLINE float widen(bf16 x) { return to_f32(x); }
RL_INLINE float widen(f16 x) { return static_cast<float>(x); }

template <class Y>
RL_INLINE Y narrow(float x) {
  if constexpr (__is_same(Y, f16)) {
    return static_cast<f16>(x);
  } else {
    return from_f32<Y>(x);
  }
}

template <class Y, class X>
void convert(Y *y, const X *x, int64_t n) {
  RL_SIMD
  for (int64_t i = 0; i < n; i++) y[i] = narrow<Y>(widen(x[i]));
}

template <class Body>
void with_type(int32_t dtype, Body &&body) {
  if (dtype == RL_F16) {
    body(f16{});
  } else {
    with_float(dtype, body);
  }
}

}  // namespace

void copy(Device &device, View y, View x) {
  // One row per unit of work; a dense tensor is cut into pieces instead, whatever its shape.
  int64_t rows = x.rows(), cols = x.cols(), step_x = x.row_stride(), step_y = y.row_stride();
  const bool dense = (rows <= 1 || (step_x == cols && step_y == cols));
  const int64_t total = rows * cols, piece = 16384;
  if (dense) {
    rows = (total + piece - 1) / piece;
    step_x = step_y = piece;
  }
  const int64_t size = dtype_size(x.dtype);
#pragma omp parallel for schedule(static) num_threads(cpu(device).threads()) if (total > 65536)
  for (int64_t r = 0; r < rows; r++) {
    const int64_t left = total - r * piece;
    const int64_t n = dense ? (left < piece ? left : piece) : cols;
    if (x.dtype == y.dtype) {
      __builtin_memcpy(y.as<char>() + r * step_y * size, x.as<char>() + r * step_x * size, static_cast<size_t>(n * size));
      continue;
    }
    with_type(x.dtype, [&](auto tx) {
      with_type(y.dtype, [&](auto ty) {
        convert(y.as<decltype(ty)>() + r * step_y, x.as<decltype(tx)>() + r * step_x, n);
      });
    });
  }
}

}  // namespace rl::cpu::RL_ISA
