// y = factor * x.  y (=), may be x itself.
#include "cpu/kernels/pieces.h"
#include "cpu/kernels/tile.h"

namespace rl::cpu::RL_ISA {

void scale(Device &device, View y, View x, float factor) {
  const Pieces pieces(y, x);
  with_float(x.dtype, [&](auto tx) {
    with_float(y.dtype, [&](auto ty) {
      using X = decltype(tx);
      using Y = decltype(ty);
#pragma omp parallel for schedule(static) num_threads(cpu(device).threads()) if (pieces.total() > 65536)
      for (int64_t i = 0; i < pieces.count(); i++) {
        scale_row(pieces.at<Y>(y, i), pieces.at<X>(x, i), pieces.length(i), factor);
      }
    });
  });
}

}  // namespace rl::cpu::RL_ISA
