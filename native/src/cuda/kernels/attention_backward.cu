// The gradients of attention (attention.cu), with p = exp(s - lse) made anew from the queries and keys:
//   delta = sum over D of gradO * o,  ds = p * (gradO v^T - delta)
//   gradV = p^T gradO,  gradK = scale ds^T q,  gradQ = scale ds k.   gradQ, gradK, gradV (=); gradK, gradV sum over a group.
// Three kernels (Dao 2023, without its atomics):
//   statistics  {lse log2(e), delta} f32 [Hq,T,2]
//   by keys     a block owns keys of one key head and walks over the queries that see them, head by head of the group
//   by queries  a block owns queries of one head and walks over the keys that they see
// A gradient so is summed up in registers by one warp, in one order: no atomics, same bits. The price is seven products of tiles
// in place of five: s and gradO v^T are made twice. With RLHF4J_CUDA_DETERMINISTIC=0 it is five: attention_backward_unordered.cu.
// On tensor cores p and ds are rounded to 16 bits. In f16 ds becomes 0 up to 2^-25 and infinite from 65520 on. It is about as large
// as the gradients, which are f16 too, so a loss scale that fits them fits it; what overflows is seen, as infinities or NaNs.
// Traffic: each kernel reads its own rows once, and the other side once for each block that sees it (from L2 mostly).
#include "cuda/op.h"
#if !defined(RL_KERNELS)
#include "cuda/indices.h"
#endif
#include "cuda/attention_backward.h"

namespace rl::cuda {

namespace {
// As in attention.cu.
RL_ANYWHERE constexpr AttentionTiles by_queries_tiles(int size, int D) {
  if (size == 4) return {size, D, D <= 64 ? 4 : 2, D <= 64 ? 32 : D <= 128 ? 16 : 8};
  return {size, D, D <= 96 ? 2 : 1, D <= 128 ? 32 : 16};
}
/// Whether gradK and gradV are made by different blocks.
RL_ANYWHERE constexpr bool splits(int D) { return D > 128; }
constexpr int kStatisticsLanes = 8, kStatisticsRows = kAttentionThreads / kStatisticsLanes;
}  // namespace

#if defined(RL_KERNELS)

/// Eight lanes for each token and head. blockIdx.x: tokens; blockIdx.y: head.
template <class T>
DEVICE void make_statistics(const AttentionBackward &x) {
  constexpr int kChunk = 16 / sizeof(T);
  union Chunk {
    uint4 vector = {};
    T elements[kChunk];
  };
  const int64_t head = blockIdx.y, total = x.q.rows();
  const int t = blockIdx.x * kStatisticsRows + threadIdx.x / kStatisticsLanes, l = threadIdx.x % kStatisticsLanes;
  const HeadRows<const T> o{x.o, head}, gradO{x.gradO, head};
  float delta = 0;
  if (t < total) {
    const T *a = o.row(t), *b = gradO.row(t);
#pragma unroll 2
    for (int c = l * kChunk; c < o.width(); c += kStatisticsLanes * kChunk) {
      Chunk ca, cb;
      if (x.vectors) {
        ca.vector = load_vector(reinterpret_cast<const uint4 *>(a + c));
        cb.vector = load_vector(reinterpret_cast<const uint4 *>(b + c));
      } else {
#pragma unroll
        for (int e = 0; e < kChunk; e++) {
          ca.elements[e] = c + e < o.width() ? a[c + e] : from_f32<T>(0.0f);
          cb.elements[e] = c + e < o.width() ? b[c + e] : from_f32<T>(0.0f);
        }
      }
#pragma unroll
      for (int e = 0; e < kChunk; e++) delta += to_f32(ca.elements[e]) * to_f32(cb.elements[e]);
    }
  }
#pragma unroll
  for (int step = 1; step < kStatisticsLanes; step *= 2) delta += __shfl_xor_sync(kFullWarp, delta, step);
  if (t < total && l == 0) {
    const int64_t at = head * total + t;
    store_vector(reinterpret_cast<float2 *>(x.statistics) + at, make_float2(x.lse.f32()[at] * kLog2e, delta));
  }
}

/// gradK and gradV of a block's keys, or one of them: registers do not hold both for the largest heads.
template <class T, int D, bool kGradK, bool kGradV>
DEVICE void backward_by_keys(const AttentionBackward &x) {
  constexpr AttentionTiles kCut = by_keys_tiles(sizeof(T), D);
  constexpr int kKeys = kCut.rows(), kQueries = kCut.others, kPitch = kCut.pitch();
  static_assert(kCut.shared(2) <= kAttentionShared);
  const int64_t kvHeads = x.k.shape[1], kvHead = blockIdx.x % kvHeads, total = x.q.rows();
  const int group = static_cast<int>(x.q.shape[1] / kvHeads);
  const RowsOfSequence s = rows_of_block(x.cu, total, kKeys, blockIdx.x / kvHeads);
  if (s.first >= s.end) return;  // the same for the whole block

  SHARED_DYNAMIC(memory);
  T *keys = reinterpret_cast<T *>(memory), *values = keys + kKeys * kPitch;
  T *queries = values + kKeys * kPitch, *grads = queries + 2 * kQueries * kPitch;
  T *aside = grads + 2 * kQueries * kPitch + warp() * kCut.aside();
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
  WarpSums<T, kCut.tiles, D> sumK, sumV;
  // Two tiles of rows and two sums of 64 columns leave registers for the scores of 16 queries at a time.
  constexpr bool kTight = sizeof(T) == 2 && kCut.tiles == 2 && D >= 64;
  constexpr int kPart = kTight ? 16 : kQueries, kUnroll = kTight ? 2 : D / 16;
  using Scores = WarpTile<T, kCut.tiles, kPart>;
  const float scale = x.scale * kLog2e;
  int buffer = 0;
  auto advance = [&](int &query, int &g) {
    query += kQueries;
    if (query < stop) return;
    query = s.first;
    g++;
  };
  for (int query = s.first, g = 0; g < group; advance(query, g), buffer ^= 1) {
    cp_async_wait<0>();
    __syncthreads();  // this tile is there, and nobody reads the one before
    int nextQuery = query, nextG = g;
    advance(nextQuery, nextG);
    if (nextG < group) load(nextQuery, kvHead * group + nextG, buffer ^ 1);
#pragma unroll 1
    for (int part = 0; part < kQueries; part += kPart) {
      const int first = query + part;
      if (first + kPart <= mine || first - last >= x.window) continue;
      const T *q = queries + (buffer * kQueries + part) * kPitch, *gradO = grads + (buffer * kQueries + part) * kPitch;
      Scores p;
      probabilities_by_keys<D, kUnroll>(p, ownKeys, q, scale);
      if (first < last || first + kPart - 1 - mine >= x.window) mask<true>(p, first - mine, x.window, 0.0f);
      if constexpr (kGradV) multiply_columns<D>(sumV, p, gradO, aside);
      if constexpr (kGradK) {
        Scores ds;
        gradients_by_keys<D, kUnroll>(ds, p, ownValues, gradO, q);
        multiply_columns<D>(sumK, ds, q, aside);
      }
    }
  }

  float factor[Scores::kRows];
#pragma unroll
  for (float &f : factor) f = x.scale;
  if constexpr (kGradK) store_rows<D>(gradK, x.vectors, sumK, factor, ownKeys, mine, end);
#pragma unroll
  for (float &f : factor) f = 1;
  if constexpr (kGradV) store_rows<D>(gradV, x.vectors, sumV, factor, ownValues, mine, end);
}

/// gradQ of a block's queries.
template <class T, int D>
DEVICE void backward_by_queries(const AttentionBackward &x) {
  constexpr AttentionTiles kCut = by_queries_tiles(sizeof(T), D);
  constexpr int kQueries = kCut.rows(), kKeys = kCut.others, kPitch = kCut.pitch();
  static_assert(kCut.shared(2) <= kAttentionShared);
  const int64_t heads = x.q.shape[1], head = blockIdx.x % heads, total = x.q.rows();
  const RowsOfSequence s = rows_of_block(x.cu, total, kQueries, (gridDim.x - 1 - blockIdx.x) / heads);
  if (s.first >= s.end) return;  // the same for the whole block

  SHARED_DYNAMIC(memory);
  T *queries = reinterpret_cast<T *>(memory), *grads = queries + kQueries * kPitch;
  T *keys = grads + kQueries * kPitch, *values = keys + 2 * kKeys * kPitch;
  T *aside = values + 2 * kKeys * kPitch + warp() * kCut.aside();
  const int64_t kvHead = head / (heads / x.k.shape[1]);
  const HeadRows<T> q{x.q, head}, gradO{x.gradO, head}, k{x.k, kvHead}, v{x.v, kvHead}, gradQ{x.gradQ, head};
  const int end = s.end - s.first < kQueries ? s.end : s.first + kQueries;
  const int begin = s.first - s.begin < x.window ? s.begin : s.first - x.window + 1;
  auto load = [&](int key, int buffer) {
    copy_rows<kKeys, D>(keys + buffer * kKeys * kPitch, k, x.vectors, key, end);
    copy_rows<kKeys, D>(values + buffer * kKeys * kPitch, v, x.vectors, key, end);
    cp_async_commit();
  };
  copy_rows<kQueries, D>(queries, q, x.vectors, s.first, end);
  copy_rows<kQueries, D>(grads, gradO, x.vectors, s.first, end);
  load(begin, 0);

  const int mine = s.first + warp() * kCut.warp_rows(), last = mine + kCut.warp_rows() - 1;
  T *ownQueries = queries + warp() * kCut.warp_rows() * kPitch, *ownGrads = grads + warp() * kCut.warp_rows() * kPitch;
  WarpSums<T, kCut.tiles, D> sum;
  using Scores = WarpTile<T, kCut.tiles, kKeys>;
  const float scale = x.scale * kLog2e;
  float lse[Scores::kRows], delta[Scores::kRows], factor[Scores::kRows];
#pragma unroll
  for (int i = 0; i < Scores::kRows; i++) {
    const int t = mine + Scores::row(i);
    const float2 statistics =
        t < end ? load_vector(reinterpret_cast<const float2 *>(x.statistics) + head * total + t) : make_float2(0, 0);
    lse[i] = statistics.x;
    delta[i] = statistics.y;
    factor[i] = x.scale;
  }
  int buffer = 0;
  for (int key = begin; key < end; key += kKeys, buffer ^= 1) {
    cp_async_wait<0>();
    __syncthreads();  // this tile is there, and nobody reads the one before
    if (key + kKeys < end) load(key + kKeys, buffer ^ 1);
    if (key > last || mine - (key + kKeys - 1) >= x.window) continue;  // nothing that this warp sees

    Scores p, ds;
    multiply_rows<D>(p, ownQueries, keys + buffer * kKeys * kPitch);
    multiply_rows<D>(ds, ownGrads, values + buffer * kKeys * kPitch);
#pragma unroll
    for (int i = 0; i < Scores::kRows; i++) {
#pragma unroll
      for (int j = 0; j < Scores::kColumns; j++) {
        ds.at(i, j) = exp2_approx(p.at(i, j) * scale - lse[i]) * (ds.at(i, j) - delta[i]);
      }
    }
    if (key + kKeys - 1 > mine || last - key >= x.window) mask<false>(ds, mine - key, x.window, 0.0f);
    multiply_columns<D>(sum, ds, keys + buffer * kKeys * kPitch, aside);
  }
  store_rows<D>(gradQ, x.vectors, sum, factor, ownQueries, mine, end);
}

#define ATTENTION_STATISTICS(T) \
  KERNEL(attention_statistics_##T, kAttentionThreads, AttentionBackward x) { make_statistics<T>(x); }
FOR_FLOATS(ATTENTION_STATISTICS)
ATTENTION_STATISTICS(f16)

#define ATTENTION_BACKWARD(T, D)                                                            \
  KERNEL(attention_backward_by_keys_##T##_##D, kAttentionThreads, AttentionBackward x) {    \
    if constexpr (!splits(D)) {                                                             \
      backward_by_keys<T, D, true, true>(x);                                                \
    } else if (blockIdx.y == 0) {                                                           \
      backward_by_keys<T, D, true, false>(x);                                               \
    } else {                                                                                \
      backward_by_keys<T, D, false, true>(x);                                               \
    }                                                                                       \
  }                                                                                         \
  KERNEL(attention_backward_by_queries_##T##_##D, kAttentionThreads, AttentionBackward x) { \
    backward_by_queries<T, D>(x);                                                           \
  }
FOR_HEAD_SIZES(ATTENTION_BACKWARD)

#else

void attention_backward(Device &device, View gradQ, View gradK, View gradV, View gradO, View o, View lse, View q,
                        View k, View v, View cuSeqlens, float scale, int32_t window) {
  CudaDevice &g = gpu(device);
  check_cu_seqlens(g, "attention_backward", cuSeqlens, q.rows(), true);
  if (g.attend_backward_by_library({o, lse, q, k, v, cuSeqlens, scale, window}, {gradQ, gradK, gradV, gradO})) return;
  float *statistics = g.scratch<float>(2 * lse.elements());
  const AttentionBackward x{gradQ,
                            gradK,
                            gradV,
                            gradO,
                            o,
                            lse,
                            q,
                            k,
                            v,
                            cuSeqlens,
                            statistics,
                            scale,
                            finite_window(window, q),
                            whole_vectors(gradQ, gradK, gradV, gradO, o, q, k, v)};
  g.launch(kernel_name("attention_statistics", {q.dtype}),
           Grid{ceil_div(q.rows(), kStatisticsRows), q.shape[1], kAttentionThreads}, x);
  const int D = padded_head(q.dtype, q.shape[2]), size = static_cast<int>(dtype_size(q.dtype));
  if (!g.options().deterministic && has_unordered(q.dtype, D)) return attention_backward_unordered(g, x, D);
  const AttentionTiles keys = by_keys_tiles(size, D), queries = by_queries_tiles(size, D);
  g.launch(
      attention_kernel("attention_backward_by_keys", q.dtype, D),
      Grid{attention_blocks(keys, k, cuSeqlens) * k.shape[1], splits(D) ? 2 : 1, kAttentionThreads, keys.shared(2)}, x);
  g.launch(attention_kernel("attention_backward_by_queries", q.dtype, D),
           Grid{attention_blocks(queries, q, cuSeqlens) * q.shape[1], 1, kAttentionThreads, queries.shared(2)}, x);
}

#endif

}  // namespace rl::cuda
