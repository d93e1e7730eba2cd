// y = a + b.  y (=), may be a or b itself.
#include "cpu/kernels/pieces.h"
#include "cpu/kernels/tile.h"

namespace rl::cpu::RL_ISA {

void add(Device &device, View y, View a, View b) {
  const Pieces pieces(y, a, b);
  with_float(a.dtype, [&](auto ta) {
    with_float(b.dtype, [&](auto tb) {
      with_float(y.dtype, [&](auto ty) {
        using A = decltype(ta);
        using B = decltype(tb);
        using Y = decltype(ty);
#pragma omp parallel for schedule(static) num_threads(cpu(device).threads()) if (pieces.total() > 65536)
        for (int64_t i = 0; i < pieces.count(); i++) {
          const A *pa = pieces.at<A>(a, i);
          const B *pb = pieces.at<B>(b, i);
          for_row(
              pieces.at<Y>(y, i), pieces.length(i), [&](int64_t c) { return load(pa + c) + load(pb + c); },
              [&](int64_t c) { return to_f32(pa[c]) + to_f32(pb[c]); });
        }
      });
    });
  });
}

}  // namespace rl::cpu::RL_ISA
