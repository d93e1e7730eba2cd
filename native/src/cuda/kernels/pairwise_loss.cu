// mean over pairs of softplus(-(chosen - rejected - margin)) + center (chosen + rejected)^2; gradients (=) times grad_scale.
// One block: pairs are few. Sums in double, in a fixed order.
#include "cuda/op.h"

namespace rl::cuda {

constexpr int kThreads = 128;

#if defined(RL_KERNELS)

KERNEL(pairwise_loss, kThreads, View stats, View gradChosen, View gradRejected, View chosen, View rejected, View margin,
       float center, float gradScale) {
  const int64_t n = chosen.elements();
  const double count = static_cast<double>(n), weight = static_cast<double>(center);
  const double scale = static_cast<double>(gradScale) / count;
  double loss = 0, right = 0, difference = 0, scores = 0;
  for (int64_t i = threadIdx.x; i < n; i += blockDim.x) {
    const double c = static_cast<double>(chosen.f32()[i]), r = static_cast<double>(rejected.f32()[i]);
    const double x = c - r - (margin ? static_cast<double>(margin.f32()[i]) : 0);
    // -log sigmoid(x) and its derivative, without overflow on either side
    const double e = exp(x < 0 ? x : -x);
    loss += (x < 0 ? -x : 0) + log1p(e) + weight * (c + r) * (c + r);
    const double slope = -(x < 0 ? 1 / (1 + e) : e / (1 + e));
    gradChosen.f32()[i] = static_cast<float>((slope + 2 * weight * (c + r)) * scale);
    gradRejected.f32()[i] = static_cast<float>((-slope + 2 * weight * (c + r)) * scale);
    right += c > r ? 1 : 0;
    difference += c - r;
    scores += 0.5 * (c + r);
  }
  loss = block_sum(loss);
  right = block_sum(right);
  difference = block_sum(difference);
  scores = block_sum(scores);
  if (threadIdx.x != 0) return;
  float *s = stats.f32();
  s[0] = static_cast<float>(loss / count);
  s[1] = static_cast<float>(right / count);
  s[2] = static_cast<float>(difference / count);
  s[3] = static_cast<float>(scores / count);
}

#else

void pairwise_loss(Device &device, View stats, View gradChosen, View gradRejected, View chosen, View rejected,
                   View margin, float center, float gradScale) {
  gpu(device).launch("pairwise_loss", Grid{1, 1, kThreads}, stats, gradChosen, gradRejected, chosen, rejected, margin,
                     center, gradScale);
}

#endif

}  // namespace rl::cuda
