// The gradients of attention (attention_backward.cu) by five products of tiles in place of seven, with RLHF4J_CUDA_DETERMINISTIC=0:
// what a block that owns keys made of ds for gradK serves gradQ too. Each such block adds its share, in f32 and by atomics, and so
// in an order that no two runs share: the last bits of gradQ vary. gradK and gradV are summed up as ever.
//   unordered  a block owns keys of one key head; of each tile of queries that see them it makes gradV += p^T gradO, gradK += ds^T q,
//              and, one tile later, sums += ds k
//   round      gradQ = scale sums, in gradQ's dtype
// ds passes through shared memory, where its transpose is read from and where the block's warps put their keys together: a block
// adds to an element once. There are two buffers of it, so that one barrier a tile will do.
// The sums lie as tensor cores leave them, 16 queries of a head after the other: a warp adds to 128 bytes at a time.
// Traffic: as by keys, and gradQ in f32: zeros, an addition for each block of keys that the query sees, and once to round it. All
// of it but the rounded gradQ stays in L2 where T Hq D 4 bytes do.
// For bf16 and heads of up to 128. Larger ones have no registers for both sums as it is, and who computes in f32 wants exactness
// before speed: these take the way with an order.
#include "cuda/attention_backward.h"
#include "cuda/op.h"

namespace rl::cuda {

namespace {
/// Queries whose sums lie together, an accumulator's rows. Sequence b's begin with number cu[b] / kSumRows + b.
constexpr int kSumRows = 16;
/// From key to key of staged ds: as rows of shared memory are.
RL_ANYWHERE constexpr int staged_pitch(const AttentionTiles &tiles) { return tiles.others + 8; }
RL_ANYWHERE constexpr int unordered_shared(const AttentionTiles &tiles) {
  return tiles.shared(2) + tiles.size * 2 * tiles.rows() * staged_pitch(tiles);
}
/// A warp rounds kSumRows queries.
RL_ANYWHERE constexpr AttentionTiles round_tiles(int D) { return {2, D, 1, 0}; }
}  // namespace

/// Expands ENTRY(dtype, D) for every instance.
#define FOR_UNORDERED_HEADS(ENTRY) ENTRY(bf16, 32) ENTRY(bf16, 64) ENTRY(bf16, 80) ENTRY(bf16, 96) ENTRY(bf16, 128)

#if defined(RL_KERNELS)

/// The sums of the queries from `query` on, a whole number of kSumRows after the sequence's first.
template <int D>
DEVICE float *sums_of(float *sums, const RowsOfSequence &s, int query, int64_t head, int64_t heads) {
  const int64_t tile = s.begin / kSumRows + s.sequence + (query - s.begin) / kSumRows;
  return sums + (tile * heads + head) * kSumRows * D;
}

/// sums += ds k, over keys [from, to) of the block: kSumRows queries, whose ds [keys, queries] is at `staged`, and every
/// `across`th 16 columns beginning with number `which`.
template <int D, int kAcross, int kStaged, class T>
DEVICE void add_to_sums(float *sums, const T *staged, const T *keys, int from, int to, int which) {
  constexpr int kPitch = D + 8, kParts = (D / 16 + kAcross - 1) / kAcross;
  const T *a_lane = staged + (lane() / 16 * 8 + lane() % 8) * kStaged + lane() / 8 % 2 * 8;
  const T *b_lane = keys + lane() % 16 * kPitch + lane() / 16 * 8 + which * 16;
  auto inside = [&](int part) { return D / 16 % kAcross == 0 || part * kAcross + which < D / 16; };
  float sum[kParts][2][4] = {};
#pragma unroll 2
  for (int k = from; k < to; k += 16) {
    uint32_t a[4];
    ldmatrix_x4_transposed(a, a_lane + k * kStaged);
#pragma unroll
    for (int part = 0; part < kParts; part++) {
      if (!inside(part)) continue;
      uint32_t b[4];
      ldmatrix_x4_transposed(b, b_lane + k * kPitch + part * kAcross * 16);
      mma_bf16(sum[part][0], a, b[0], b[1]);
      mma_bf16(sum[part][1], a, b[2], b[3]);
    }
  }
#pragma unroll
  for (int part = 0; part < kParts; part++) {
    if (!inside(part)) continue;
    float *to_lane = sums + (part * kAcross + which) * 16 * kSumRows + lane();
#pragma unroll
    for (int i = 0; i < 8; i++) add_unordered(to_lane + i * 32, sum[part][i / 4][i % 4]);
  }
}

template <class T, int D>
DEVICE void backward_unordered(const AttentionBackward &x, float *sums) {
  constexpr AttentionTiles kCut = by_keys_tiles(sizeof(T), D);
  constexpr int kKeys = kCut.rows(), kQueries = kCut.others, kPitch = kCut.pitch(), kStaged = staged_pitch(kCut);
  static_assert(unordered_shared(kCut) <= kAttentionShared);
  const int64_t heads = x.q.shape[1], kvHeads = x.k.shape[1], kvHead = blockIdx.x % kvHeads;
  const int group = static_cast<int>(heads / kvHeads);
  const RowsOfSequence s = rows_of_block(x.cu, x.q.rows(), kKeys, blockIdx.x / kvHeads);
  if (s.first >= s.end) return;  // the same for the whole block

  SHARED_DYNAMIC(memory);
  T *keys = reinterpret_cast<T *>(memory), *values = keys + kKeys * kPitch;
  T *queries = values + kKeys * kPitch, *grads = queries + 2 * kQueries * kPitch;
  T *staged = grads + 2 * kQueries * kPitch;
  const HeadRows<T> k{x.k, kvHead}, v{x.v, kvHead}, gradK{x.gradK, kvHead}, gradV{x.gradV, kvHead};
  const int end = s.end - s.first < kKeys ? s.end : s.first + kKeys;
  const int stop =
      s.end - (end - 1) < x.window ? s.end : end - 1 + x.window;  // of the queries that see one of the keys
  auto load = [&](int query, int64_t head, int buffer) {
    copy_queries<D, kQueries>(queries + buffer * kQueries * kPitch, grads + buffer * kQueries * kPitch, x, head, query,
                              stop);
    cp_async_commit();
  };
  copy_rows<kKeys, D>(keys, k, x.vectors, s.first, end);
  copy_rows<kKeys, D>(values, v, x.vectors, s.first, end);
  load(s.first, kvHead * group, 0);

  const int mine = s.first + warp() * kCut.warp_rows(), last = mine + kCut.warp_rows() - 1;
  T *ownKeys = keys + warp() * kCut.warp_rows() * kPitch, *ownValues = values + warp() * kCut.warp_rows() * kPitch;
  T *ownStaged = staged + warp() * kCut.warp_rows() * kStaged;
  WarpSums<T, kCut.tiles, D> sumK, sumV;
  // As by keys, but heads of 128 have registers to spare for no more than two steps.
  constexpr bool kTight = kCut.tiles == 2 && D >= 64;
  constexpr int kPart = kTight ? 16 : kQueries, kUnroll = kTight || D >= 128 ? 2 : D / 16;
  using Scores = WarpTile<T, kCut.tiles, kPart>;
  const float scale = x.scale * kLog2e;

  // Of a tile's sums a warp makes kSumRows queries, and its share of the columns.
  constexpr int kAcross = kAttentionWarps / (kQueries / kSumRows);
  auto add = [&](int tile, int64_t head, const T *ds) {
    const int row = warp() / kAcross * kSumRows, query = tile + row;
    const int unseen = query + 1 - x.window - s.first;  // keys of the block that lie before every window
    const int from = unseen < 0 ? 0 : unseen / 16 * 16, to = query + kSumRows - s.first;
    if (query >= stop || from >= kKeys) return;
    add_to_sums<D, kAcross, kStaged>(sums_of<D>(sums, s, query, head, heads), ds + row, keys, from,
                                     to < kKeys ? to : kKeys, warp() % kAcross);
  };
  int query = s.first, g = 0, before = -1, gBefore = 0;
  for (int buffer = 0;; buffer ^= 1) {
    cp_async_wait<0>();
    __syncthreads();  // this tile is there, so is ds of the one before, and nobody reads what is older
    int nextQuery = query + kQueries, nextG = g;
    if (nextQuery >= stop) {
      nextQuery = s.first;
      nextG++;
    }
    if (nextG < group) load(nextQuery, kvHead * group + nextG, buffer ^ 1);
    if (before >= 0) add(before, kvHead * group + gBefore, staged + (buffer ^ 1) * kKeys * kStaged);
    if (g == group) break;
#pragma unroll 1
    for (int part = 0; part < kQueries; part += kPart) {
      const int first = query + part;
      if (first + kPart <= mine || first - last >= x.window) continue;  // add leaves that out
      const T *q = queries + (buffer * kQueries + part) * kPitch, *gradO = grads + (buffer * kQueries + part) * kPitch;
      Scores p, ds;
      probabilities_by_keys<D, kUnroll>(p, ownKeys, q, scale);
      if (first < last || first + kPart - 1 - mine >= x.window) mask<true>(p, first - mine, x.window, 0.0f);
      multiply_columns<D>(sumV, p, gradO, static_cast<T *>(nullptr));
      gradients_by_keys<D, kUnroll>(ds, p, ownValues, gradO, q);
      T *to = ownStaged + buffer * kKeys * kStaged + part;
#pragma unroll
      for (int i = 0; i < Scores::kRows; i++) {
#pragma unroll
        for (int j = 0; j < Scores::kColumns; j += 2) {
          store_vector(reinterpret_cast<uint32_t *>(to + ds.row(i) * kStaged + ds.column(j)),
                       pack_bf16(ds.at(i, j), ds.at(i, j + 1)));
        }
      }
      multiply_columns<D>(sumK, ds, q, static_cast<T *>(nullptr));
    }
    before = query, gBefore = g;
    query = nextQuery, g = nextG;
  }

  // Both by way of the values, which are the warp's own: others may still multiply by its keys.
  float factor[Scores::kRows];
#pragma unroll
  for (float &f : factor) f = x.scale;
  store_rows<D>(gradK, x.vectors, sumK, factor, ownValues, mine, end);
#pragma unroll
  for (float &f : factor) f = 1;
  store_rows<D>(gradV, x.vectors, sumV, factor, ownValues, mine, end);
}

template <class T, int D>
DEVICE void round_sums(const AttentionBackward &x, float *sums) {
  constexpr AttentionTiles kCut = round_tiles(D);
  static_assert(kCut.warp_rows() == kSumRows);
  const int64_t heads = x.q.shape[1], head = blockIdx.x % heads;
  const RowsOfSequence s = rows_of_block(x.cu, x.q.rows(), kCut.rows(), blockIdx.x / heads);
  const int query = s.first + warp() * kSumRows;
  if (query >= s.end) return;  // the same for the whole warp
  SHARED(T, tile, [kCut.rows() * kCut.pitch()]);
  const float *from = sums_of<D>(sums, s, query, head, heads) + lane();
  WarpSums<T, 1, D> sum;
#pragma unroll
  for (int i = 0; i < D / 2; i++) sum.c[0][i / 4][i % 4] = from[i * 32];
  const float factor[] = {x.scale, x.scale};
  store_rows<D>(HeadRows<T>{x.gradQ, head}, x.vectors, sum, factor, tile + warp() * kSumRows * kCut.pitch(), query,
                s.end);
}

#define ATTENTION_BACKWARD_UNORDERED(T, D)                                                              \
  KERNEL(attention_backward_unordered_##T##_##D, kAttentionThreads, AttentionBackward x, float *sums) { \
    backward_unordered<T, D>(x, sums);                                                                  \
  }                                                                                                     \
  KERNEL(attention_backward_round_##T##_##D, kAttentionThreads, AttentionBackward x, float *sums) {     \
    round_sums<T, D>(x, sums);                                                                          \
  }
FOR_UNORDERED_HEADS(ATTENTION_BACKWARD_UNORDERED)

#else

void attention_backward_unordered(CudaDevice &g, const AttentionBackward &x, int D) {
  const int64_t heads = x.q.shape[1];
  View zeros;
  zeros.rank = 1;
  zeros.shape[0] = (x.q.rows() / kSumRows + x.cu.elements() - 1) * heads * kSumRows * D;
  float *sums = g.scratch<float>(zeros.elements());
  zeros.data = sums;
  fill(g, zeros, 0);
  const AttentionTiles keys = by_keys_tiles(static_cast<int>(dtype_size(x.q.dtype)), D), rounded = round_tiles(D);
  g.launch(attention_kernel("attention_backward_unordered", x.q.dtype, D),
           Grid{attention_blocks(keys, x.k, x.cu) * x.k.shape[1], 1, kAttentionThreads, unordered_shared(keys)}, x,
           sums);
  g.launch(attention_kernel("attention_backward_round", x.q.dtype, D),
           Grid{attention_blocks(rounded, x.q, x.cu) * heads, 1, kAttentionThreads}, x, sums);
}

#endif

}  // namespace rl::cuda
