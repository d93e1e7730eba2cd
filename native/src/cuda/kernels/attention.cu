// o = softmax(s) v with s = scale q k^T over the keys j <= i (and j > i - window) of the query's sequence; lse = log sum exp s.
// q, o [T,Hq,D]; k, v [T,Hkv,D]; lse f32 [Hq,T].  o, lse (=)
// Flash attention (Dao et al. 2022, 2023): a block owns the queries of one head, keys and values stream through shared memory (one
// tile is copied while one is multiplied), and the softmax keeps a running maximum and sum for each row, in powers of 2. Blocks
// with the most keys come first; heads are next to each other, so that those of a group find their keys in the L2 cache.
// Traffic: q and o once, k and v once for each block of queries above them (from L2 mostly); no [T,T] matrix.
// Work: 4 T^2 D / 2 operations a head and sequence; tiles that are masked altogether are left out.
#include "cuda/op.h"
#if !defined(RL_KERNELS)
#include "cuda/indices.h"
#endif
#include "cuda/attention_tile.h"

namespace rl::cuda {

namespace {
// As much as registers (two blocks on a multiprocessor, nothing spilled) and shared memory hold. Two tiles of rows a warp where it
// can be: each operand that ldmatrix brings then serves four products, and shared memory is not what limits them.
RL_ANYWHERE constexpr AttentionTiles forward_tiles(int size, int D) {
  if (size == 4) return {size, D, D <= 128 ? 4 : 2, D <= 64 ? 32 : D <= 128 ? 16 : 8};
  return {size, D, D <= 128 ? 2 : 1, D <= 80 ? 64 : 32};
}
}  // namespace

struct Attention {
  View o, lse, q, k, v, cu;
  float scale;
  int32_t window;
  bool vectors;  // whole_vectors of all
};

#if defined(RL_KERNELS)

template <class T, int D>
DEVICE void attend(const Attention &x) {
  constexpr AttentionTiles kCut = forward_tiles(sizeof(T), D);
  constexpr int kQueries = kCut.rows(), kKeys = kCut.others, kPitch = kCut.pitch();
  static_assert(kCut.shared(1) <= kAttentionShared);
  const int64_t heads = x.q.shape[1], head = blockIdx.x % heads, total = x.q.rows();
  const RowsOfSequence s = rows_of_block(x.cu, total, kQueries, (gridDim.x - 1 - blockIdx.x) / heads);
  if (s.first >= s.end) return;  // the same for the whole block

  SHARED_DYNAMIC(memory);
  T *queries = reinterpret_cast<T *>(memory), *keys = queries + kQueries * kPitch;
  T *values = keys + 2 * kKeys * kPitch, *aside = values + 2 * kKeys * kPitch + warp() * kCut.aside();
  const int64_t kvHead = head / (heads / x.k.shape[1]);
  const HeadRows<T> q{x.q, head}, k{x.k, kvHead}, v{x.v, kvHead}, out{x.o, head};
  const int end = s.end - s.first < kQueries ? s.end : s.first + kQueries;
  const int begin = s.first - s.begin < x.window ? s.begin : s.first - x.window + 1;
  auto load = [&](int key, int buffer) {
    copy_rows<kKeys, D>(keys + buffer * kKeys * kPitch, k, x.vectors, key, end);
    copy_rows<kKeys, D>(values + buffer * kKeys * kPitch, v, x.vectors, key, end);
    cp_async_commit();
  };
  copy_rows<kQueries, D>(queries, q, x.vectors, s.first, end);
  load(begin, 0);

  const int mine = s.first + warp() * kCut.warp_rows(), last = mine + kCut.warp_rows() - 1;
  T *own = queries + warp() * kCut.warp_rows() * kPitch;
  WarpSums<T, kCut.tiles, D> o;
  using Scores = WarpTile<T, kCut.tiles, kKeys>;
  const float scale = x.scale * kLog2e;
  float top[Scores::kRows], sum[Scores::kRows];
#pragma unroll
  for (int i = 0; i < Scores::kRows; i++) {
    top[i] = -INFINITY;
    sum[i] = 0;
  }
  int buffer = 0;
  for (int key = begin; key < end; key += kKeys, buffer ^= 1) {
    cp_async_wait<0>();
    __syncthreads();  // this tile is there, and nobody reads the one before
    if (key + kKeys < end) load(key + kKeys, buffer ^ 1);
    if (key > last || mine - (key + kKeys - 1) >= x.window) continue;  // nothing that this warp sees

    Scores p;
    multiply_rows<D>(p, own, keys + buffer * kKeys * kPitch);
#pragma unroll
    for (int i = 0; i < Scores::kRows; i++) {
#pragma unroll
      for (int j = 0; j < Scores::kColumns; j++) p.at(i, j) *= scale;
    }
    if (key + kKeys - 1 > mine || last - key >= x.window) mask<false>(p, mine - key, x.window, -INFINITY);
    bool rose = false;
    float factor[Scores::kRows];
#pragma unroll
    for (int i = 0; i < Scores::kRows; i++) {
      float most = top[i];
#pragma unroll
      for (int j = 0; j < Scores::kColumns; j++) most = fmaxf(most, p.at(i, j));
#pragma unroll
      for (int step = 1; step < Scores::kLanes; step *= 2) most = fmaxf(most, __shfl_xor_sync(kFullWarp, most, step));
      rose = rose || most > top[i];
      const float base = most == -INFINITY ? 0 : most;  // no key yet
      factor[i] = exp2_approx(top[i] - base);
      top[i] = most;
      sum[i] *= factor[i];
#pragma unroll
      for (int j = 0; j < Scores::kColumns; j++) {
        p.at(i, j) = exp2_approx(p.at(i, j) - base);
        sum[i] += p.at(i, j);
      }
    }
    if (__ballot_sync(kFullWarp, rose)) {  // rarely after the first tiles
#pragma unroll
      for (int i = 0; i < Scores::kRows; i++) {
#pragma unroll
        for (int j = 0; j < o.kColumns; j++) o.at(i, j) *= factor[i];
      }
    }
    multiply_columns<D>(o, p, values + buffer * kKeys * kPitch, aside);
  }

  float *lse = x.lse.f32() + head * total;
#pragma unroll
  for (int i = 0; i < Scores::kRows; i++) {
#pragma unroll
    for (int step = 1; step < Scores::kLanes; step *= 2) sum[i] += __shfl_xor_sync(kFullWarp, sum[i], step);
    const int t = mine + Scores::row(i);
    if (t < end && Scores::column(0) == 0) lse[t] = (top[i] + log2f(sum[i])) * kLn2;
    sum[i] = 1 / sum[i];
  }
  store_rows<D>(out, x.vectors, o, sum, own, mine, end);
}

#define ATTENTION(T, D) \
  KERNEL(attention_##T##_##D, kAttentionThreads, Attention x) { attend<T, D>(x); }
FOR_HEAD_SIZES(ATTENTION)

#else

void attention(Device &device, View o, View lse, View q, View k, View v, View cuSeqlens, float scale, int32_t window) {
  CudaDevice &g = gpu(device);
  check_cu_seqlens(g, "attention", cuSeqlens, q.rows(), true);
  if (g.attend_by_library({o, lse, q, k, v, cuSeqlens, scale, window})) return;
  const int D = padded_head(q.dtype, q.shape[2]);
  const AttentionTiles tiles = forward_tiles(static_cast<int>(dtype_size(q.dtype)), D);
  const Attention x{o, lse, q, k, v, cuSeqlens, scale, finite_window(window, q), whole_vectors(o, q, k, v)};
  const Grid grid{attention_blocks(tiles, q, cuSeqlens) * q.shape[1], 1, kAttentionThreads, tiles.shared(1)};
  g.launch(attention_kernel("attention", q.dtype, D), grid, x);
}

#endif

}  // namespace rl::cuda
