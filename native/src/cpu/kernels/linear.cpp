// y = x W^T + bias  (= or +=);  gradX = gradY W  (= or +=);  gradW += gradY^T x, gradBias += sum over rows of gradY.
// x [T,K], W [N,K], y [T,N].
#include <omp.h>

#include "cpu/kernels/multiply.h"
#include "cpu/kernels/simd.h"

namespace rl::cpu::RL_ISA {

void linear(Device &device, View y, View x, const Weight &weight, View bias, bool accumulate) {
  multiply(cpu(device), y, x, cpu(weight).forward(), bias.f32(), accumulate);
}

void linear_backward_input(Device &device, View gradX, View gradY, const Weight &weight, bool accumulate) {
  const CpuWeight &w = cpu(weight);
  if (w.n <= kBackwardRows) {
    multiply(cpu(device), gradX, gradY, w.backward(0, w.n), nullptr, accumulate);
    return;
  }
  // Several pieces add up: in f32, so that bf16 rounds once.
  View sum = gradX;
  const int64_t rows = gradX.rows(), cols = gradX.cols();
  if (gradX.dtype != RL_F32) sum = matrix(cpu(device).scratch<float>(rows * cols), RL_F32, rows, cols, cols);
  const bool direct = sum.data == gradX.data;
  for (int64_t from = 0; from < w.n; from += kBackwardRows) {
    const int64_t to = from + kBackwardRows < w.n ? from + kBackwardRows : w.n;
    View part = gradY;
    part.data = static_cast<char *>(gradY.data) + from * (gradY.dtype == RL_BF16 ? 2 : 4);
    part.shape[1] = to - from;
    multiply(cpu(device), sum, part, w.backward(from, to), nullptr, from > 0 || (direct && accumulate));
  }
  if (direct) return;
#pragma omp parallel for schedule(static) num_threads(cpu(device).threads()) if (rows * cols > 8192)
  for (int64_t t = 0; t < rows; t++) {
    const float *in = sum.row<float>(t);
    bf16 *out = gradX.row<bf16>(t);
    if (accumulate) {
      RL_SIMD
      for (int64_t i = 0; i < cols; i++) out[i] = from_f32<bf16>(to_f32(out[i]) + in[i]);
    } else {
      RL_SIMD
      for (int64_t i = 0; i < cols; i++) out[i] = from_f32<bf16>(in[i]);
    }
  }
}

void linear_backward_weight(Device &device, View gradW, View gradBias, View gradY, View x) {
  multiply_transposed(cpu(device), gradW, gradY, x);
  if (!gradBias) return;
  const int64_t rows = gradY.rows(), n = gradY.cols(), block = 64;
  float *sum = gradBias.f32();
  with_float(gradY.dtype, [&](auto tg) {
    using G = decltype(tg);
    // By columns: every thread owns some, so the sum's order does not depend on the number of threads.
#pragma omp parallel for schedule(static) num_threads(cpu(device).threads()) if (rows * n > 8192)
    for (int64_t from = 0; from < n; from += block) {
      const int64_t to = from + block < n ? from + block : n;
      for (int64_t t = 0; t < rows; t++) {
        const G *in = gradY.row<G>(t);
        RL_SIMD
        for (int64_t i = from; i < to; i++) sum[i] += to_f32(in[i]);
      }
    }
  });
}

}  // namespace rl::cpu::RL_ISA
