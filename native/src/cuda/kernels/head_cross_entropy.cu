// loss[0] = -sum_t log softmax(x W^T)[t, targets[t]] over targets != -100, loss[1] = their number  (=).
// dz = gradScale (p - 1[v = target]), 0 where ignored;  gradX = dz W  (=);  gradW += dz^T x.
// The forward of head_logprob, one sum over rows, and the backward of head_logprob with gradLogp = -gradScale or 0.
#include "cuda/head.h"
#if !defined(RL_KERNELS)
#include "cuda/indices.h"
#endif

namespace rl::cuda {

constexpr int kThreads = 1024;

#if defined(RL_KERNELS)

/// One block: loss and gradLogp [T] from logp [T].
KERNEL(head_cross_entropy_loss, kThreads, View loss, View gradLogp, View logp, View targets, int64_t vocabulary,
       float gradScale) {
  double sum = 0, number = 0;
  for (int64_t t = threadIdx.x; t < logp.rows(); t += kThreads) {
    const bool valid = index_at(targets.i32(), t, vocabulary) >= 0;
    gradLogp.f32()[t] = valid ? -gradScale : 0.0f;
    sum -= static_cast<double>(logp.f32()[t]);  // 0 where there is no target
    number += valid;
  }
  sum = block_sum(sum);
  number = block_sum(number);
  if (threadIdx.x != 0) return;
  loss.f32()[0] = static_cast<float>(sum);
  loss.f32()[1] = static_cast<float>(number);
}

#else

void head_cross_entropy(Device &device, View loss, View gradX, View gradW, View x, const Weight &weight, View targets,
                        float gradScale) {
  CudaDevice &d = gpu(device);
  check_targets(d, "head_cross_entropy", targets, weight.n);
  const int64_t rows = x.rows();
  auto row_values = [&] { return matrix(d.scratch<float>(rows), RL_F32, rows, 1); };
  const View logp = row_values(), lse = row_values(), gradLogp = row_values();
  softmax_rows(d, logp, View(), lse, x, weight, targets, 1);
  d.launch("head_cross_entropy_loss", Grid{1, 1, kThreads}, loss, gradLogp, logp, targets, weight.n, gradScale);
  softmax_backward(d, gradX, gradW, gradLogp, View(), x, weight, targets, lse, View(), 1);
}

#endif

}  // namespace rl::cuda
