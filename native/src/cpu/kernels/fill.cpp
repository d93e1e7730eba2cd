// y[...] = value, which an integer tensor can hold (checked before).  y (=)
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
      fill_with(device, y, static_cast<int32_t>(value));
      break;
    default:
      fill_with(device, y, static_cast<uint8_t>(value));
  }
}

}  // namespace rl::cpu::RL_ISA
