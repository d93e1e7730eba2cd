// y[...] = value.
#include "cpu/kernels/kernels.h"
#include "cpu/kernels/simd.h"

namespace rl::cpu::RL_ISA {
namespace {

template <class T>
void fill_rows(Device &device, View y, T value) {
  const int64_t rows = y.rows(), cols = y.cols();
  if (rows == 1 || y.row_stride() == cols) {
    T *out = y.as<T>();
    const int64_t n = rows * cols;
#pragma omp parallel for simd schedule(static) num_threads(cpu(device).threads()) if (n > 65536)
    for (int64_t i = 0; i < n; i++) out[i] = value;
    return;
  }
  for (int64_t r = 0; r < rows; r++) {
    T *out = y.row<T>(r);
    for (int64_t i = 0; i < cols; i++) out[i] = value;
  }
}

}  // namespace

void fill(Device &device, View y, double value) {
  switch (y.dtype) {
    case RL_F32:
      fill_rows(device, y, static_cast<float>(value));
      break;
    case RL_BF16:
      fill_rows(device, y, from_f32<bf16>(static_cast<float>(value)));
      break;
    case RL_F16:
      fill_rows(device, y, static_cast<_Float16>(value));
      break;
    case RL_I32:
      fill_rows(device, y, static_cast<int32_t>(value));
      break;
    default:
      fill_rows(device, y, static_cast<uint8_t>(value));
  }
}

}  // namespace rl::cpu::RL_ISA
