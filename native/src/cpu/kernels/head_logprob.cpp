// z = x W^T / temperature; lse = log sum_v e^z_v, logp = z_target - lse, entropy = -sum_v p_v log p_v.
// x [T,H], W [V,H]. All (=).
// dz_v = (gradLogp (1[v = target] - p_v) - gradEntropy p_v (log p_v + entropy)) / temperature;
// gradX = dz W  (=);  gradW += dz^T x. Logits are made again: keeping them would take T x V.
#include "cpu/kernels/head.h"

namespace rl::cpu::RL_ISA {

void head_logprob(Device &device, View logp, View entropy, View lse, View x, const Weight &weight, View targets,
                  float temperature) {
  check_targets(targets, weight.n, false);
  softmax_rows(cpu(device), logp.f32(), entropy.f32(), lse.f32(), x, cpu(weight), targets.i32(), 1 / temperature);
}

void head_logprob_backward(Device &device, View gradX, View gradW, View gradLogp, View gradEntropy, View x,
                           const Weight &weight, View targets, View lse, View entropy, float temperature) {
  check_targets(targets, weight.n, false);
  const float scale = 1 / temperature;
  head_backward(cpu(device), gradX, gradW, x, cpu(weight), View(), nullptr,
                [&](int64_t t, int64_t v0, int64_t n, const float *z, const float *, auto *dz) {
                  const float g = gradLogp.f32()[t] * scale, ge = gradEntropy ? gradEntropy.f32()[t] * scale : 0;
                  const float total = lse.f32()[t], h = gradEntropy ? entropy.f32()[t] : 0;
                  RL_SIMD
                  for (int64_t i = 0; i < n; i++) {
                    const float log_p = z[i] * scale - total;
                    store(dz[i], -exp_f32(log_p) * (g + ge * (log_p + h)));
                  }
                  const int64_t target = targets.i32()[t] - v0;
                  if (target < 0 || target >= n) return;
                  const float log_p = z[target] * scale - total;
                  store(dz[target], g - exp_f32(log_p) * (g + ge * (log_p + h)));
                });
}

}  // namespace rl::cpu::RL_ISA
