// y[m] = x[index[m]]  (=);  gradX = 0, gradX[index[m]] += gradY[m], in order of m.
#include "cpu/kernels/indices.h"
#include "cpu/kernels/simd.h"

namespace rl::cpu::RL_ISA {

void gather_rows(Device &, View y, View x, View index) {
  check_indices("index", index, x.rows());
  const int64_t size = dtype_size(x.dtype), bytes = x.cols() * size;
  for (int64_t m = 0; m < y.rows(); m++) {
    __builtin_memcpy(y.as<char>() + m * y.row_stride() * size,
                     x.as<char>() + index.i32()[m] * x.row_stride() * size, static_cast<size_t>(bytes));
  }
}

void gather_rows_backward(Device &, View gradX, View gradY, View index) {
  check_indices("index", index, gradX.rows());
  const int64_t n = gradX.cols();
  with_float(gradX.dtype, [&](auto t) {
    using T = decltype(t);
    for (int64_t r = 0; r < gradX.rows(); r++) {
      T *out = gradX.row<T>(r);
      for (int64_t i = 0; i < n; i++) out[i] = from_f32<T>(0.0f);
    }
    for (int64_t m = 0; m < gradY.rows(); m++) {
      const T *g = gradY.row<T>(m);
      T *out = gradX.row<T>(index.i32()[m]);
      RL_SIMD
      for (int64_t i = 0; i < n; i++) out[i] = from_f32<T>(to_f32(out[i]) + to_f32(g[i]));
    }
  });
}

}  // namespace rl::cpu::RL_ISA
