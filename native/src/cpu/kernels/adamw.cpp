// grad_norm: norm = sqrt(sum x^2), by pieces of fixed size, so that the threads do not change the sum.
// adamw: dispatch/adamw.h; grad becomes 0, rounded = param.
// Traffic: 16 bytes read and 16 (18 with rounded) written per parameter.
#include "dispatch/adamw.h"

#include "cpu/kernels/kernels.h"
#include "cpu/kernels/simd.h"

namespace rl::cpu::RL_ISA {
namespace {

/// Elements from .. to, all with one decay.
void update(Device &device, const View &param, const View &m, const View &v, const View &grad, int64_t from, int64_t to,
            float clip, float decay, const AdamwStep &step) {
  float *p = param.f32(), *pm = m.f32(), *pv = v.f32(), *g = grad.f32();
#pragma omp parallel for simd schedule(static) num_threads(cpu(device).threads()) if (to - from > 32768)
  for (int64_t i = from; i < to; i++) {
    adamw_update(p[i], pm[i], pv[i], g[i] * clip, decay, step);
    g[i] = 0;
  }
}

}  // namespace

void grad_norm(Device &device, View norm, View x) {
  const int64_t n = x.elements(), piece = 65536, pieces = (n + piece - 1) / piece;
  double *sums = cpu(device).scratch<double>(pieces + 1);
  const float *values = x.f32();
#pragma omp parallel for schedule(static) num_threads(cpu(device).threads()) if (pieces > 1)
  for (int64_t i = 0; i < pieces; i++) {
    const int64_t end = (i + 1) * piece < n ? (i + 1) * piece : n;
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t j = i * piece; j < end; j++) sum += static_cast<double>(values[j]) * static_cast<double>(values[j]);
    sums[i] = sum;
  }
  double total = 0;
  for (int64_t i = 0; i < pieces; i++) total += sums[i];
  norm.f32()[0] = static_cast<float>(__builtin_sqrt(total));
}

void adamw(Device &device, View param, View rounded, View m, View v, View grad, View norm, const rl_adamw_config &c) {
  if (norm && !is_finite(norm.f32()[0])) return;
  const float clip = c.max_grad_norm > 0 ? clip_factor(norm.f32()[0], c.max_grad_norm) : 1;
  const AdamwStep step = adamw_step(c);
  update(device, param, m, v, grad, 0, c.decayed, clip, step.decay, step);
  update(device, param, m, v, grad, c.decayed, param.elements(), clip, 1, step);
  if (rounded) copy(device, rounded, param);
}

}  // namespace rl::cpu::RL_ISA
