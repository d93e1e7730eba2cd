// y = a + b.  y (=), may be a or b itself.
#include "cpu/kernels/kernels.h"
#include "cpu/kernels/simd.h"

namespace rl::cpu::RL_ISA {

void add(Device &device, View y, View a, View b) {
  const int64_t rows = y.rows(), n = y.cols();
  with_float(a.dtype, [&](auto ta) {
    with_float(b.dtype, [&](auto tb) {
      with_float(y.dtype, [&](auto ty) {
        using A = decltype(ta);
        using B = decltype(tb);
        using Y = decltype(ty);
#pragma omp parallel for schedule(static) num_threads(cpu(device).threads()) if (rows * n > 32768)
        for (int64_t t = 0; t < rows; t++) {
          const A *pa = a.row<A>(t);
          const B *pb = b.row<B>(t);
          Y *py = y.row<Y>(t);
          RL_SIMD
          for (int64_t i = 0; i < n; i++) py[i] = from_f32<Y>(to_f32(pa[i]) + to_f32(pb[i]));
        }
      });
    });
  });
}

}  // namespace rl::cpu::RL_ISA
