// grad_norm: norm = sqrt(sum x^2), in double: pieces of fixed size side by side, then one block adds them up in order.
// adamw (torch.optim.AdamW's order): g = grad * min(1, max_norm / (norm + 1e-6));  p *= 1 - lr wd;
//   m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;  p -= lr / (1 - b1^t) * m / (sqrt(v) / sqrt(1 - b2^t) + eps).
// Traffic: 16 bytes read and 12 written per parameter.
#include "cuda/op.h"
#if !defined(RL_KERNELS)
#include <cmath>
#endif

namespace rl::cuda {

constexpr int kThreads = 256;
constexpr int64_t kPiece = 16384;  // of grad_norm: one block's

/// What the host works out from rl_adamw_config.
struct AdamwStep {
  float step, root2, decay, beta1, beta2, eps, max_grad_norm;
};

#if defined(RL_KERNELS)

KERNEL(grad_norm_pieces, kThreads, double *sums, View x) {
  const int64_t begin = blockIdx.x * kPiece, end = smaller(begin + kPiece, x.elements());
  double sum = 0;
  for (int64_t i = begin + threadIdx.x; i < end; i += blockDim.x) {
    const double value = static_cast<double>(x.f32()[i]);
    sum += value * value;
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

KERNEL(grad_norm_root, kThreads, View norm, const double *sums, int64_t pieces) {
  double sum = 0;
  for (int64_t i = threadIdx.x; i < pieces; i += blockDim.x) sum += sums[i];
  sum = block_sum(sum);
  if (threadIdx.x == 0) norm.f32()[0] = static_cast<float>(sqrt(sum));
}

KERNEL(adamw, kThreads, View param, View m, View v, View grad, View norm, AdamwStep c) {
  const int64_t i = thread_of_grid();
  if (i >= param.elements()) return;
  float clip = 1;
  if (c.max_grad_norm > 0) {
    clip = c.max_grad_norm / (norm.f32()[0] + 1e-6f);
    clip = clip > 1 ? 1 : clip;  // NaN stays NaN, as in torch
  }
  const float g = grad.f32()[i] * clip;
  const float first = c.beta1 * m.f32()[i] + (1 - c.beta1) * g, second = c.beta2 * v.f32()[i] + (1 - c.beta2) * g * g;
  m.f32()[i] = first;
  v.f32()[i] = second;
  param.f32()[i] = param.f32()[i] * c.decay - c.step * first / (sqrtf(second) * c.root2 + c.eps);
}

#else

void grad_norm(Device &device, View norm, View x) {
  CudaDevice &d = gpu(device);
  const int64_t pieces = ceil_div(x.elements(), kPiece);
  double *sums = d.scratch<double>(pieces);
  d.launch("grad_norm_pieces", by_row(pieces, kThreads), sums, x);
  d.launch("grad_norm_root", Grid{1, 1, kThreads}, norm, static_cast<const double *>(sums), pieces);
}

void adamw(Device &device, View param, View m, View v, View grad, View norm, const rl_adamw_config &c) {
  const double correction1 = 1 - std::pow(static_cast<double>(c.beta1), c.step);
  const double correction2 = 1 - std::pow(static_cast<double>(c.beta2), c.step);
  const AdamwStep step{static_cast<float>(static_cast<double>(c.lr) / correction1),
                       static_cast<float>(1 / std::sqrt(correction2)),
                       1 - c.lr * c.weight_decay,
                       c.beta1,
                       c.beta2,
                       c.eps,
                       c.max_grad_norm};
  gpu(device).launch("adamw", by_element(param.elements(), kThreads), param, m, v, grad, norm, step);
}

#endif

}  // namespace rl::cuda
