// AdamW (torch.optim.AdamW's order): g = grad * min(1, max_norm / (norm + 1e-6));  p *= 1 - lr wd;
//   m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;  p -= lr / (1 - b1^t) * m / (sqrt(v) / sqrt(1 - b2^t) + eps).
#pragma once

#include <cstdint>

#include "dispatch/formula.h"
#include "rlhf4j.h"

namespace rl {

/// What is the same for all elements of a step.
struct AdamwStep {
  float step, root2, decay, beta1, beta2, eps, max_grad_norm;
  int64_t decayed;  // elements from the front that `decay` multiplies
};

#if !defined(__CUDACC__)
RL_FORMULA AdamwStep adamw_step(const rl_adamw_config &c) {
  const double correction1 = 1 - __builtin_pow(static_cast<double>(c.beta1), c.step);
  const double correction2 = 1 - __builtin_pow(static_cast<double>(c.beta2), c.step);
  return {static_cast<float>(static_cast<double>(c.lr) / correction1),
          static_cast<float>(1 / __builtin_sqrt(correction2)),
          1 - c.lr * c.weight_decay,
          c.beta1,
          c.beta2,
          c.eps,
          c.max_grad_norm,
          c.decayed};
}
#endif

/// Whether a step with this norm changes anything.
RL_FORMULA bool is_finite(float norm) { return norm - norm == 0; }

RL_FORMULA float clip_factor(float norm, float max_grad_norm) {
  const float clip = max_grad_norm / (norm + 1e-6f);
  return clip > 1 ? 1 : clip;
}

/// One element; decay: 1 where there is none.
RL_FORMULA void adamw_update(float &p, float &m, float &v, float g, float decay, const AdamwStep &c) {
  m = c.beta1 * m + (1 - c.beta1) * g;
  v = c.beta2 * v + (1 - c.beta2) * g * g;
  p = p * decay - c.step * m / (root_of(v) * c.root2 + c.eps);
}

}  // namespace rl
