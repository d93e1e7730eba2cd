// y[...] = value.  Integers: the nearest value that the dtype has, towards zero; NaN gives 0.
#include "cpu/kernels/f16.h"
#include "cpu/kernels/pieces.h"

namespace rl::cpu::RL_ISA {
namespace {

template <class T>
void fill_with(Device &device, const View &y, T value) {
  const Pieces pieces(y);
#pragma omp parallel for schedule(static) num_threads(cpu(device).threads()) if (pieces.total() > 65536)
  for (int64_t i = 0; i < pieces.count(); i++) {
    T *out = pieces.at<T>(y, i);
    const int64_t n = pieces.length(i);
    RL_SIMD
    for (int64_t c = 0; c < n; c++) out[c] = value;
  }
}

/// A double outside the integer's range would be undefined behaviour to convert.
template <class T>
T to_integer(double value, double lowest, double highest) {
  if (!(value > lowest)) return value != value ? T{0} : static_cast<T>(lowest);
  return value >= highest ? static_cast<T>(highest) : static_cast<T>(value);
}

}  // namespace

void fill(Device &device, View y, double value) {
  switch (y.dtype) {
    case RL_F32:
      fill_with(device, y, static_cast<float>(value));
      break;
    case RL_BF16:
      fill_with(device, y, from_f32<bf16>(static_cast<float>(value)).bits);
      break;
    case RL_F16:
      fill_with(device, y, f16_from_f32(static_cast<float>(value)).bits);
      break;
    case RL_I32:
      fill_with(device, y, to_integer<int32_t>(value, -2147483648.0, 2147483647.0));
      break;
    default:
      fill_with(device, y, to_integer<uint8_t>(value, 0, 255));
  }
}

}  // namespace rl::cpu::RL_ISA
