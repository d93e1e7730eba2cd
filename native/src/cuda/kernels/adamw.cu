// grad_norm: norm = sqrt(sum x^2), in double: pieces of fixed size side by side, then one block adds them up in order.
// adamw: dispatch/adamw.h; grad becomes 0, rounded = param. All parameters of an optimizer lie in one tensor each: one launch.
// Traffic: grad_norm reads each gradient once. adamw reads 16 bytes for each parameter and writes 16 (18 with rounded): the minimum.
#include "cuda/elementwise.h"
#include "dispatch/adamw.h"

namespace rl::cuda {

constexpr int64_t kPiece = 16384;  // of grad_norm: one block's

#if defined(RL_KERNELS)

KERNEL(grad_norm_pieces, kRunThreads, double *sums, View x) {  // x: one row
  constexpr int kRun = kRunOf<float>;
  const int64_t begin = blockIdx.x * kPiece;
  const float *piece = x.f32() + begin;
  double sum = 0;
  for_each_run_of_row<kRun>(smaller(kPiece, x.cols() - begin), takes_runs<kRun>(piece), [&](int64_t c, auto width) {
    float v[decltype(width)::value];
    read_run(v, piece + c);
#pragma unroll
    for (int i = 0; i < decltype(width)::value; i++) sum += static_cast<double>(v[i]) * static_cast<double>(v[i]);
  });
  sum = block_sum(sum);
  if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

KERNEL(grad_norm_root, kRunThreads, View norm, const double *sums, int64_t pieces) {
  double sum = 0;
  for (int64_t i = threadIdx.x; i < pieces; i += blockDim.x) sum += sums[i];
  sum = block_sum(sum);
  if (threadIdx.x == 0) norm.f32()[0] = static_cast<float>(sqrt(sum));
}

KERNEL(adamw, kRunThreads, View param, View rounded, View m, View v, View grad, View norm,
       AdamwStep step) {  // one row each
  constexpr int kRun = kRunOf<float>;
  const float size = norm ? norm.f32()[0] : 0.0f;
  if (!is_finite(size)) return;
  const float clip = step.max_grad_norm > 0 ? clip_factor(size, step.max_grad_norm) : 1.0f;
  const bool runs = takes_runs<kRun, float>(param) && takes_runs<kRun, float>(m) && takes_runs<kRun, float>(v) &&
                    takes_runs<kRun, float>(grad) && takes_runs<kRun, bf16>(rounded);
  for_each_run<kRun>(param, runs, [&](int64_t, int64_t c, auto width) {
    constexpr int kWidth = decltype(width)::value;
    float p[kWidth], first[kWidth], second[kWidth], g[kWidth];
    read_run(p, param.f32() + c);
    read_run(first, m.f32() + c);
    read_run(second, v.f32() + c);
    read_run(g, grad.f32() + c);
#pragma unroll
    for (int i = 0; i < kWidth; i++) {
      adamw_update(p[i], first[i], second[i], g[i] * clip, c + i < step.decayed ? step.decay : 1.0f, step);
      g[i] = 0;
    }
    write_run(param.f32() + c, p);
    write_run(m.f32() + c, first);
    write_run(v.f32() + c, second);
    write_run(grad.f32() + c, g);
    if (rounded) write_run(rounded.as<bf16>() + c, p);
  });
}

#else

void grad_norm(Device &device, View norm, View x) {
  CudaDevice &d = gpu(device);
  flatten_if_dense(x);
  const int64_t pieces = ceil_div(x.elements(), kPiece);
  double *sums = d.scratch<double>(pieces);
  d.launch("grad_norm_pieces", by_row(pieces, kRunThreads), sums, x);
  d.launch("grad_norm_root", Grid{1, 1, kRunThreads}, norm, static_cast<const double *>(sums), pieces);
}

void adamw(Device &device, View param, View rounded, View m, View v, View grad, View norm, const rl_adamw_config &c) {
  flatten_if_dense(param, rounded, m, v, grad);
  gpu(device).launch("adamw", by_run(param, {RL_F32}), param, rounded, m, v, grad, norm, adamw_step(c));
}

#endif

}  // namespace rl::cuda
