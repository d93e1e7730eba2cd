// What the two ways to attention's gradients share: attention_backward.cu, whose sums have an order, and
// attention_backward_unordered.cu, which adds up gradQ as it comes.
#pragma once

#if !defined(RL_KERNELS)
#include "cuda/cuda_device.h"
#endif
#include "cuda/attention_tile.h"

namespace rl::cuda {

/// As in attention.cu, with two sums instead of one.
RL_ANYWHERE constexpr AttentionTiles by_keys_tiles(int size, int D) {
  if (size == 4) return {size, D, D <= 64 ? 4 : 2, D <= 64 ? 32 : D <= 128 ? 16 : 8};
  return {size, D, D <= 64 ? 2 : 1, D <= 128 ? 32 : 16};
}

struct AttentionBackward {
  View gradQ, gradK, gradV, gradO, o, lse, q, k, v, cu;
  float *statistics;  // [Hq,T,2]
  float scale;
  int32_t window;
  bool vectors;  // whole_vectors of all
};

#if defined(RL_KERNELS)

/// What copy_queries put behind a query's row: its log-sum-exp in powers of two, and gradO o.
template <int D, class T>
DEVICE float2 statistics_of(const T *queries, int query) {
  return *reinterpret_cast<const float2 *>(queries + query * (D + 16 / static_cast<int>(sizeof(T))) + D);
}

/// Starts copying a tile of queries of a head and of their gradO, from `first` on and before `end`, and each query's statistics
/// to where its row is padded.
template <int D, int kQueries, class T>
DEVICE void copy_queries(T *queries, T *grads, const AttentionBackward &x, int64_t head, int first, int end) {
  constexpr int kPitch = D + 16 / sizeof(T);
  const HeadRows<T> q{x.q, head}, gradO{x.gradO, head};
  copy_rows<kQueries, D>(queries, q, x.vectors, first, end);
  copy_rows<kQueries, D>(grads, gradO, x.vectors, first, end);
  const int i = threadIdx.x;
  static_assert(kQueries <= kAttentionThreads);
  if (i < kQueries) {
    const bool valid = first + i < end;
    const float2 *from = reinterpret_cast<const float2 *>(x.statistics) + head * x.q.rows() + (valid ? first + i : 0);
    cp_async8(queries + i * kPitch + D, from, valid);
  }
}

/// p = exp(scale k q^T - lse), keys by queries, for a part of a tile of queries and a warp's keys; scale is in powers of two.
template <int D, int kUnroll, class Tile, class T>
DEVICE void probabilities_by_keys(Tile &p, const T *keys, const T *q, float scale) {
  multiply_rows<D, kUnroll>(p, keys, q);
#pragma unroll
  for (int j = 0; j < Tile::kColumns; j++) {
    const float lse = statistics_of<D>(q, p.column(j)).x;
#pragma unroll
    for (int i = 0; i < Tile::kRows; i++) p.at(i, j) = exp2_approx(p.at(i, j) * scale - lse);
  }
}

/// ds = p (v gradO^T - delta), likewise.
template <int D, int kUnroll, class Tile, class T>
DEVICE void gradients_by_keys(Tile &ds, Tile &p, const T *values, const T *gradO, const T *q) {
  multiply_rows<D, kUnroll>(ds, values, gradO);
#pragma unroll
  for (int j = 0; j < Tile::kColumns; j++) {
    const float delta = statistics_of<D>(q, p.column(j)).y;
#pragma unroll
    for (int i = 0; i < Tile::kRows; i++) ds.at(i, j) = p.at(i, j) * (ds.at(i, j) - delta);
  }
}

#else

/// Whether attention_backward_unordered has kernels for such heads.
inline bool has_unordered(int32_t dtype, int D) { return dtype == RL_BF16 && D <= 128; }
/// What follows the statistics: all three gradients, gradQ summed up in no order (attention_backward_unordered.cu).
void attention_backward_unordered(CudaDevice &g, const AttentionBackward &x, int D);

#endif

}  // namespace rl::cuda
