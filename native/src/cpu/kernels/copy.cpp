// y = x, converting between f32, bf16 and f16 where the dtypes differ.  y (=)
#include "cpu/kernels/f16.h"
#include "cpu/kernels/pieces.h"
#include "cpu/kernels/tile.h"

namespace rl::cpu::RL_ISA {

void copy(Device &device, View y, View x) {
  const Pieces pieces(y, x);
  const int64_t size = dtype_size(x.dtype);
#pragma omp parallel for schedule(static) num_threads(cpu(device).threads()) if (pieces.total() > 65536)
  for (int64_t i = 0; i < pieces.count(); i++) {
    const int64_t n = pieces.length(i);
    if (x.dtype == y.dtype) {
      const char *from = size == 4   ? pieces.at<const char[4]>(x, i)[0]
                         : size == 2 ? pieces.at<const char[2]>(x, i)[0]
                                     : pieces.at<const char>(x, i);
      char *to = size == 4   ? pieces.at<char[4]>(y, i)[0]
                 : size == 2 ? pieces.at<char[2]>(y, i)[0]
                             : pieces.at<char>(y, i);
      __builtin_memcpy(to, from, static_cast<size_t>(n * size));
      continue;
    }
    with_float_or_f16(x.dtype, [&](auto from) {
      with_float_or_f16(y.dtype, [&](auto to) {
        scale_row(pieces.at<decltype(to)>(y, i), pieces.at<decltype(from)>(x, i), n, 1.0f);
      });
    });
  }
}

}  // namespace rl::cpu::RL_ISA
