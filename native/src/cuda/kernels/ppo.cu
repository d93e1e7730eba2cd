// The arithmetic of PPO on packed response tokens: dispatch/ppo.h. Sums in double, in an order that depends on the shape alone; the
// host reads nothing but the statistics.
//   advantages   a launch (two, if rewards are whitened) with a block for each sequence, which leaves its moments; one that whitens
//   gae          a scan by the block, from the sequence's end: A_t = delta_t + c A_{t+1} with c = gamma lam is a sum of powers of c,
//                so that log2(32) exchanges make a warp's, and the first elements of the warps the block's
//   ppo_loss     a launch that gathers, makes the gradients and adds up; a second one where several blocks' sums are to be joined
// Traffic: each tensor read once and written once for each launch; moments read theirs again, from the cache.
#include "cuda/op.h"
#include "dispatch/ppo.h"
#if !defined(RL_KERNELS)
#include "cuda/indices.h"
#endif

namespace rl::cuda {

constexpr int kThreads = 128, kLossThreads = 256;
constexpr int64_t kPiece = 2048;  // elements of a block

/// The moments of some of the numbers, to be joined with those of others: squares are of the distances from the mean.
struct Part {
  double count, mean, squares;
};

struct AdvantageTensors {
  View rewards, advantages, returns, kl, scores, values, cu;
};
struct PpoTensors {
  View stats, gradLogp, gradValues, logp, values, entropy, oldLogp, oldValues, advantages, returns, index;
};
struct PpoPart {
  PpoSums sums;
  Part returns;
};

#if defined(RL_KERNELS)

/// Of x(0) .. x(n - 1), by the whole block.
template <class X>
DEVICE Part part_of(int64_t n, X &&x) {
  double sum = 0, squares = 0;
  for (int64_t i = threadIdx.x; i < n; i += blockDim.x) sum += static_cast<double>(x(i));
  const double mean = n > 0 ? block_sum(sum) / static_cast<double>(n) : 0;
  for (int64_t i = threadIdx.x; i < n; i += blockDim.x) {
    const double d = static_cast<double>(x(i)) - mean;
    squares += d * d;
  }
  return {static_cast<double>(n), mean, block_sum(squares)};
}

/// Of all numbers, from the parts at(0) .. at(parts - 1), by the whole block.
template <class At>
DEVICE Moments joined(int64_t parts, At &&at) {
  double count = 0, sum = 0, squares = 0;
  for (int64_t i = threadIdx.x; i < parts; i += blockDim.x) {
    const Part p = at(i);
    count += p.count;
    sum += p.count * p.mean;
  }
  count = block_sum(count);
  const double mean = block_sum(sum) / count;
  for (int64_t i = threadIdx.x; i < parts; i += blockDim.x) {
    const Part p = at(i);
    squares += p.squares + p.count * (p.mean - mean) * (p.mean - mean);
  }
  squares = block_sum(squares);
  return {mean, count > 1 ? squares / (count - 1) : 0};
}

DEVICE double power(double x, int n) {
  double y = 1;
  for (; n > 0; n /= 2, x *= x) {
    if (n % 2 != 0) y *= x;
  }
  return y;
}

/// Advantages and returns of one sequence, by the whole block.
DEVICE void gae_of(const View &advantages, const View &returns, const View &rewards, const View &values,
                   const Span &rows, float gamma, float lam) {
  SHARED(double, heads, [32]);
  const int warps = static_cast<int>(blockDim.x) / 32;
  const double g = static_cast<double>(gamma), c = g * static_cast<double>(lam);
  const double of_warp = power(c, 32), behind_lane = power(c, 32 - lane());
  double carry = 0;  // the advantage of the token behind this chunk
  for (int64_t end = rows.end; end > rows.begin; end -= blockDim.x) {
    const int64_t t = end - blockDim.x + threadIdx.x;
    const bool mine = t >= rows.begin;
    double value = 0, advantage = 0;
    if (mine) {
      value = static_cast<double>(values.f32()[t]);
      const double next = t + 1 < rows.end ? static_cast<double>(values.f32()[t + 1]) : 0;
      advantage = gae_delta(rewards.f32()[t], value, next, g);
    }
    double weight = c;
    for (int step = 1; step < 32; step *= 2, weight *= weight) {
      const double further = __shfl_down_sync(kFullWarp, advantage, step);
      if (lane() + step < 32) advantage += weight * further;
    }
    __syncthreads();  // the heads before are read
    if (lane() == 0) heads[warp()] = advantage;
    __syncthreads();
    double behind = carry;  // the advantage of the token behind this warp
    for (int w = warps - 1; w > warp(); w--) behind = heads[w] + of_warp * behind;
    for (int w = warps - 1; w >= 0; w--) carry = heads[w] + of_warp * carry;
    if (!mine) continue;  // of the last chunk: there is no barrier behind it
    advantage += behind_lane * behind;
    advantages.f32()[t] = static_cast<float>(advantage);
    returns.f32()[t] = static_cast<float>(advantage + value);
  }
}

DEVICE void shape(const View &rewards, const View &kl, const View &scores, const Span &rows, float beta) {
  for (int64_t t = rows.begin + threadIdx.x; t < rows.end; t += blockDim.x) {
    const float penalty = -beta * kl.f32()[t];
    rewards.f32()[t] = t == rows.end - 1 ? penalty + scores.f32()[blockIdx.x] : penalty;
  }
}

/// The part of the sequence that this block wrote into x, where somebody wants it.
DEVICE void leave_part(Part *parts, const View &x, const Span &rows) {
  if (!parts) return;
  __syncthreads();
  const Part part = part_of(rows.end - rows.begin, [&](int64_t i) { return x.f32()[rows.begin + i]; });
  if (threadIdx.x == 0) parts[blockIdx.x] = part;
}

KERNEL(kl_penalty, kThreads, View kl, View logp, View logpRef, int32_t kind) {
  const int64_t t = thread_of_grid();
  if (t >= kl.elements()) return;
  const double d = static_cast<double>(logp.f32()[t]) - static_cast<double>(logpRef.f32()[t]);
  kl.f32()[t] = static_cast<float>(kl_estimate(d, kind));
}

// A block for each sequence.
KERNEL(shaped_rewards, kThreads, View rewards, View kl, View scores, View cu, float beta, Part *parts) {
  const Span rows = span(cu.i32(), blockIdx.x, kl.elements());
  shape(rewards, kl, scores, rows, beta);
  leave_part(parts, rewards, rows);
}

KERNEL(gae, kThreads, View advantages, View returns, View rewards, View values, View cu, float gamma, float lam) {
  gae_of(advantages, returns, rewards, values, span(cu.i32(), blockIdx.x, rewards.elements()), gamma, lam);
}

/// of_rewards: null if the rewards are yet to be shaped, else they are to be whitened with these. of_advantages: null if nobody wants
/// them.
KERNEL(advantages, kThreads, AdvantageTensors x, rl_advantages_config c, const Part *of_rewards, Part *of_advantages) {
  const Span rows = span(x.cu.i32(), blockIdx.x, x.kl.elements());
  if (!of_rewards) {
    shape(x.rewards, x.kl, x.scores, rows, c.beta);
  } else if (x.kl.elements() > 1) {
    const Whitening w = whitening(joined(gridDim.x, [&](int64_t i) { return of_rewards[i]; }), false);
    for (int64_t t = rows.begin + threadIdx.x; t < rows.end; t += blockDim.x) {
      x.rewards.f32()[t] = whitened(x.rewards.f32()[t], w);
    }
  }
  __syncthreads();
  gae_of(x.advantages, x.returns, x.rewards, x.values, rows, c.gamma, c.lam);
  leave_part(of_advantages, x.advantages, rows);
}

KERNEL(moments, kLossThreads, Part *parts, View x) {
  const int64_t begin = blockIdx.x * kPiece;
  const Part part = part_of(smaller(kPiece, x.elements() - begin), [&](int64_t i) { return x.f32()[begin + i]; });
  if (threadIdx.x == 0) parts[blockIdx.x] = part;
}

KERNEL(whiten, kLossThreads, View y, View x, const Part *parts, int64_t count, int32_t shiftMean) {
  const int64_t n = x.elements(), begin = blockIdx.x * kPiece, end = smaller(begin + kPiece, n);
  const Whitening w = whitening(joined(count, [&](int64_t i) { return parts[i]; }), shiftMean != 0);
  for (int64_t i = begin + threadIdx.x; i < end; i += blockDim.x) {
    y.f32()[i] = n < 2 ? x.f32()[i] : whitened(x.f32()[i], w);
  }
}

/// Of the block's threads; thread 0 gets it.
DEVICE PpoSums block_sums(PpoSums x) {
  SHARED(double, parts, [(kPpoSums + 1) * 32]);
  for (int step = 16; step > 0; step /= 2) {
#pragma unroll
    for (int i = 0; i < kPpoSums; i++) x.sum[i] += __shfl_xor_sync(kFullWarp, x.sum[i], step);
    x.largest = larger(x.largest, __shfl_xor_sync(kFullWarp, x.largest, step));
  }
  __syncthreads();
  if (lane() == 0) {
#pragma unroll
    for (int i = 0; i < kPpoSums; i++) parts[i * 32 + warp()] = x.sum[i];
    parts[kPpoSums * 32 + warp()] = x.largest;
  }
  __syncthreads();
  for (int w = 1; w < static_cast<int>(blockDim.x) / 32 && threadIdx.x == 0; w++) {
#pragma unroll
    for (int i = 0; i < kPpoSums; i++) x.sum[i] += parts[i * 32 + w];
    x.largest = larger(x.largest, parts[kPpoSums * 32 + w]);
  }
  return x;
}

/// What is left when all sums are there (in thread 0), by one block.
DEVICE void finish_loss(const PpoTensors &x, const rl_ppo_config &c, const PpoSums &sums, const Moments &returns) {
  SHARED(int, skipped, [1]);
  const int64_t n = x.logp.elements();
  if (threadIdx.x == 0) {
    skipped[0] = ppo_skipped(sums, c, static_cast<double>(n));
    ppo_stats(x.stats.f32(), sums, returns, c, static_cast<double>(n));
  }
  __syncthreads();
  if (!skipped[0]) return;
  for (int64_t t = threadIdx.x; t < n; t += blockDim.x) x.gradLogp.f32()[t] = x.gradValues.f32()[t] = 0;
}

// A block for each piece of the tokens; parts: null if there is one only.
KERNEL(ppo_loss, kLossThreads, PpoTensors x, rl_ppo_config c, PpoPart *parts) {
  const int64_t n = x.logp.elements(), begin = blockIdx.x * kPiece, end = smaller(begin + kPiece, n);
  const double scale = static_cast<double>(c.grad_scale) / static_cast<double>(n);
  auto place = [&](int64_t t) { return x.index ? index_at(x.index.i32(), t, x.oldLogp.elements()) : t; };
  PpoSums sums{};
  for (int64_t t = begin + threadIdx.x; t < end; t += blockDim.x) {
    const int64_t i = place(t);
    PpoGradient gradient{0, 0};
    if (i >= 0) {
      const PpoToken token{x.logp.f32()[t],
                           x.oldLogp.f32()[i],
                           x.values.f32()[t],
                           x.oldValues.f32()[i],
                           x.advantages.f32()[i],
                           x.returns.f32()[i],
                           x.entropy ? x.entropy.f32()[t] : 0.0f};
      gradient = ppo_token(sums, token, c, scale);
    }
    x.gradLogp.f32()[t] = gradient.logp;
    x.gradValues.f32()[t] = gradient.value;
  }
  sums = block_sums(sums);
  const Part returns = part_of(end - begin, [&](int64_t t) {
    const int64_t i = place(begin + t);
    return i >= 0 ? x.returns.f32()[i] : 0.0f;
  });
  if (parts) {
    if (threadIdx.x == 0) parts[blockIdx.x] = {sums, returns};
    return;
  }
  __syncthreads();  // the gradients are written
  finish_loss(x, c, sums, {returns.mean, n > 1 ? returns.squares / static_cast<double>(n - 1) : 0});
}

KERNEL(ppo_loss_join, kLossThreads, PpoTensors x, rl_ppo_config c, const PpoPart *parts, int64_t count) {
  PpoSums sums{};
  for (int64_t p = threadIdx.x; p < count; p += blockDim.x) {
#pragma unroll
    for (int i = 0; i < kPpoSums; i++) sums.sum[i] += parts[p].sums.sum[i];
    sums.largest = larger(sums.largest, parts[p].sums.largest);
  }
  sums = block_sums(sums);
  finish_loss(x, c, sums, joined(count, [&](int64_t i) { return parts[i].returns; }));
}

#else

void kl_penalty(Device &device, View kl, View logp, View logpRef, int32_t kind) {
  gpu(device).launch("kl_penalty", by_element(kl.elements(), kThreads), kl, logp, logpRef, kind);
}

void shaped_rewards(Device &device, View rewards, View kl, View scores, View cuSeqlens, float beta) {
  check_cu_seqlens(gpu(device), "shaped_rewards", cuSeqlens, kl.elements(), false);
  Part *parts = nullptr;
  gpu(device).launch("shaped_rewards", by_row(scores.elements(), kThreads), rewards, kl, scores, cuSeqlens, beta,
                     parts);
}

void gae(Device &device, View advantages, View returns, View rewards, View values, View cuSeqlens, float gamma,
         float lam) {
  check_cu_seqlens(gpu(device), "gae", cuSeqlens, rewards.elements(), false);
  gpu(device).launch("gae", by_row(cuSeqlens.elements() - 1, kThreads), advantages, returns, rewards, values, cuSeqlens,
                     gamma, lam);
}

static void whiten_with(CudaDevice &device, const View &y, const View &x, const Part *parts, int64_t count,
                        int32_t shiftMean) {
  device.launch("whiten", by_row(ceil_div(x.elements(), kPiece), kLossThreads), y, x, parts, count, shiftMean);
}

void whiten(Device &device, View y, View x, bool shiftMean) {
  CudaDevice &d = gpu(device);
  const int64_t count = ceil_div(x.elements(), kPiece);
  Part *parts = d.scratch<Part>(count);
  d.launch("moments", by_row(count, kLossThreads), parts, x);
  whiten_with(d, y, x, parts, count, shiftMean);
}

void advantages(Device &device, View rewards, View advantages, View returns, View kl, View scores, View values,
                View cuSeqlens, const rl_advantages_config &c) {
  CudaDevice &d = gpu(device);
  check_cu_seqlens(d, "advantages", cuSeqlens, kl.elements(), false);
  const AdvantageTensors x{rewards, advantages, returns, kl, scores, values, cuSeqlens};
  const int64_t sequences = scores.elements();
  const Grid grid = by_row(sequences, kThreads);
  Part *of_rewards = c.whiten_rewards ? d.scratch<Part>(sequences) : nullptr;
  Part *of_advantages = c.whiten_advantages ? d.scratch<Part>(sequences) : nullptr;
  if (of_rewards) d.launch("shaped_rewards", grid, rewards, kl, scores, cuSeqlens, c.beta, of_rewards);
  d.launch("advantages", grid, x, c, static_cast<const Part *>(of_rewards), of_advantages);
  if (of_advantages) whiten_with(d, advantages, advantages, of_advantages, sequences, 1);
}

void ppo_loss(Device &device, View stats, View gradLogp, View gradValues, View logp, View values, View entropy,
              View oldLogp, View oldValues, View advantages, View returns, View index, const rl_ppo_config &c) {
  CudaDevice &d = gpu(device);
  if (index) check_indices(d, "ppo_loss", "index", index, oldLogp.elements());
  const PpoTensors x{stats,   gradLogp,  gradValues, logp,    values, entropy,
                     oldLogp, oldValues, advantages, returns, index};
  const int64_t pieces = ceil_div(logp.elements(), kPiece);
  PpoPart *parts = pieces > 1 ? d.scratch<PpoPart>(pieces) : nullptr;
  d.launch("ppo_loss", by_row(pieces, kLossThreads), x, c, parts);
  if (parts) d.launch("ppo_loss_join", Grid{1, 1, kLossThreads}, x, c, static_cast<const PpoPart *>(parts), pieces);
}

#endif

}  // namespace rl::cuda
