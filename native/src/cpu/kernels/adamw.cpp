// grad_norm: norm = sqrt(sum x^2), by pieces of fixed size, so that the threads do not change the sum.
// adamw (torch.optim.AdamW's order): g = grad * min(1, max_norm / (norm + 1e-6));  p *= 1 - lr wd;
//   m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;  p -= lr / (1 - b1^t) * m / (sqrt(v) / sqrt(1 - b2^t) + eps).
// Traffic: 16 bytes read and 12 written per parameter.
#include "cpu/kernels/kernels.h"
#include "cpu/kernels/simd.h"

namespace rl::cpu::RL_ISA {

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

void adamw(Device &device, View param, View m, View v, View grad, View norm, const rl_adamw_config &c) {
  const int64_t n = param.elements();
  float clip = 1;
  if (c.max_grad_norm > 0) {
    clip = c.max_grad_norm / (norm.f32()[0] + 1e-6f);
    clip = clip > 1 ? 1 : clip;  // NaN stays NaN, as in torch
  }
  const double correction1 = 1 - __builtin_pow(static_cast<double>(c.beta1), c.step);
  const double correction2 = 1 - __builtin_pow(static_cast<double>(c.beta2), c.step);
  const float step = static_cast<float>(static_cast<double>(c.lr) / correction1);
  const float root2 = static_cast<float>(1 / __builtin_sqrt(correction2));
  const float decay = 1 - c.lr * c.weight_decay, b1 = c.beta1, b2 = c.beta2, eps = c.eps;
  float *p = param.f32(), *pm = m.f32(), *pv = v.f32();
  const float *g = grad.f32();
#pragma omp parallel for simd schedule(static) num_threads(cpu(device).threads()) if (n > 32768)
  for (int64_t i = 0; i < n; i++) {
    const float x = g[i] * clip;
    pm[i] = b1 * pm[i] + (1 - b1) * x;
    pv[i] = b2 * pv[i] + (1 - b2) * x * x;
    p[i] = p[i] * decay - step * pm[i] / (__builtin_sqrtf(pv[i]) * root2 + eps);
  }
}

}  // namespace rl::cpu::RL_ISA
