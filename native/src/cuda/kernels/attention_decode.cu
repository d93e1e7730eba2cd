// One new query per row against a cache: o[b] = softmax(scale q[b] K^T) V over the row's positions.  o (=)
// A sequence is cut into pieces of kPiece positions, a block for each piece and key head (flash decoding, Dao et al. 2023): all
// query heads of the group at once, so that the cache is read once. A warp of the block takes every fourth tile of 16 positions
// (f32: 8), copied two ahead of each other into memory of its own, with a streaming softmax of its own: no barrier but the last,
// when the warps' sums are added up. bf16, f16: tensor cores, the group's heads as the 16 rows of a tile. f32: plain multiply-adds.
// A second kernel adds up the pieces of rows that have several. All in a fixed order that depends on the row alone.
// Traffic: the keys and values that a row sees, once (groups of more than 16 heads, in f32 8: once for each such part), which is
// the minimum; and 4 (d + 2) bytes written and read again for each head and piece of 256 positions, G / 128 of it for 16 bits.
#include "cuda/op.h"
#if !defined(RL_KERNELS)
#include "cuda/indices.h"
#endif

namespace rl::cuda {

constexpr int kThreads = 128;  // of the second kernel
constexpr int kPiece = 256;

/// What a block works with, for elements of `size` bytes and heads that are padded with zeros to `width`.
struct Layout {
  int keys;   // positions of a tile
  int heads;  // query heads at once
  int warps;
  int pitch;  // elements from row to row in shared memory: no bank conflicts
  int tile;   // elements of K and V of a tile
  int bytes;  // of shared memory: q, and two tiles for each warp
};
RL_ANYWHERE constexpr Layout layout(int size, int width) {
  Layout l{};
  l.keys = 32 / size;
  l.heads = size == 2 ? 16 : 8;
  l.warps = width > 128 ? 2 : 4;
  l.pitch = width + (size == 2 ? 8 : 16);
  l.tile = 2 * l.keys * l.pitch;
  l.bytes = (l.heads * l.pitch + 2 * l.warps * l.tile) * size;
  return l;
}

/// What both kernels want to know. parts f32 [rows,heads,pieces,d], tops and sums f32 [rows,heads,pieces].
struct Decode {
  View o, q, cacheK, cacheV, slots, lengths;
  float *parts, *tops, *sums;
  int64_t pieces, group_parts;
  float scale;  // for powers of 2
  int32_t window;
};

#if defined(RL_KERNELS)

constexpr float kNoKeyYet = -1e30f;

/// The positions that row b sees; none if its length is wrong.
DEVICE Span positions(const Decode &x, int64_t b) {
  const int64_t length = x.lengths.i32()[b];
  if (length < 1 || length > x.slots.cols() * x.cacheK.shape[1]) return {0, 0};
  return {x.window > 0 && length > x.window ? length - x.window : 0, length};
}
DEVICE int64_t first_piece(Span seen) { return seen.begin / kPiece; }
DEVICE int64_t last_piece(Span seen) { return (seen.end - 1) / kPiece; }

/// The rows of one key head of a sequence, page by page.
template <class T, int kWidth>
struct Source {
  static constexpr Layout kLayout = layout(sizeof(T), kWidth);
  static constexpr int kChunk = 16 / sizeof(T), kLanes = 8;  // of a row: 128 bytes side by side

  const Decode &x;
  int64_t b, head;
  Span seen;
  bool vectors;

  DEVICE_MEMBER Source(const Decode &decode, int64_t row, int64_t key_head, Span span)
      : x(decode), b(row), head(key_head), seen(span) {
    auto aligned = [](const View &v) {
      return reinterpret_cast<uintptr_t>(v.data) % 16 == 0 && v.row_stride() % kChunk == 0;
    };
    vectors = x.q.shape[2] % kChunk == 0 && aligned(x.cacheK) && aligned(x.cacheV);
  }
  /// Slot and place in it of a position, or -1.
  DEVICE_MEMBER int64_t place(int64_t position) const {
    if (position < seen.begin || position >= seen.end) return -1;
    const int64_t page = position / x.cacheK.shape[1];
    const int64_t slot = index_at(x.slots.i32() + b * x.slots.cols(), page, x.cacheK.shape[0]);
    return slot < 0 ? -1 : slot << 32 | (position - page * x.cacheK.shape[1]);
  }
  /// Starts copying the tile from position `first` on; what is not seen becomes zero. By a warp.
  DEVICE_MEMBER void load(T *tile, int64_t first) const {
    const int64_t d = x.q.shape[2], step = x.cacheK.shape[2] * d;
    const int64_t own = place(first + lane() % kLayout.keys);
    const int begin = lane() % kLanes * kChunk;
#pragma unroll
    for (int i = 0; i < kLayout.keys; i += 32 / kLanes) {
      const int j = i + lane() / kLanes;
      const int64_t at = __shfl_sync(kFullWarp, own, j);
      const bool valid = at >= 0;
      const int64_t slot = valid ? at >> 32 : 0, inside = valid ? (at & 0xffffffff) * step + head * d : 0;
      const T *k = x.cacheK.row<T>(slot) + inside, *v = x.cacheV.row<T>(slot) + inside;
      T *to_k = tile + j * kLayout.pitch, *to_v = to_k + kLayout.keys * kLayout.pitch;
      for (int c = begin; c < d; c += kLanes * kChunk) {
        if (vectors) {
          cp_async16(to_k + c, k + c, valid);
          cp_async16(to_v + c, v + c, valid);
          continue;
        }
        for (int e = c; e < c + kChunk && e < d; e++) {
          to_k[e] = valid ? k[e] : from_f32<T>(0.0f);
          to_v[e] = valid ? v[e] : from_f32<T>(0.0f);
        }
      }
    }
    cp_async_commit();
  }
};

/// The streaming softmax of a warp for the heads of a group: the largest score (in powers of 2), sums of weights and of values.
/// Tensor cores. As an mma's result lies: this lane has heads lane / 4 and 8 more, columns 2 (lane % 4) and the next of each 8.
template <class T, int kWidth>
struct Softmax {
  static_assert(sizeof(T) == 2);
  static constexpr Layout kLayout = layout(2, kWidth);
  float o[kWidth / 8][4] = {};
  float top[2] = {kNoKeyYet, kNoKeyYet}, sum[2] = {0, 0};

  /// A tile, of which the positions from .. to-1 are seen.
  DEVICE_MEMBER void add(const T *q, const T *k, float *, int d, int, float scale, int64_t from, int64_t to) {
    const T *v = k + kLayout.keys * kLayout.pitch;
    float s[2][4] = {};
#pragma unroll
    for (int e = 0; e < kWidth; e += 16) {
      if (e >= d) break;
      uint32_t a[4], b[4];
      ldmatrix_x4(a, q + lane() % 16 * kLayout.pitch + e + lane() / 16 * 8);
      ldmatrix_x4(b, k + (lane() / 16 * 8 + lane() % 8) * kLayout.pitch + e + lane() / 8 % 2 * 8);
      mma<T>(s[0], a, b[0], b[1]);
      mma<T>(s[1], a, b[2], b[3]);
    }
    float shrink[2];
#pragma unroll
    for (int r = 0; r < 2; r++) {
      float best = top[r];
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const int j = i / 2 * 8 + lane() % 4 * 2 + i % 2;
        float &score = s[i / 2][2 * r + i % 2];
        score = j >= from && j < to ? score * scale : -INFINITY;
        best = fmaxf(best, score);
      }
      best = fmaxf(best, __shfl_xor_sync(kFullWarp, best, 1));
      best = fmaxf(best, __shfl_xor_sync(kFullWarp, best, 2));
      shrink[r] = exp2f(top[r] - best);
      top[r] = best;
      sum[r] *= shrink[r];
#pragma unroll
      for (int i = 0; i < 4; i++) {
        float &score = s[i / 2][2 * r + i % 2];
        score = exp2f(score - best);
        sum[r] += score;
      }
    }
    // The weights lie as the next product's left operand wants them.
    const uint32_t p[4] = {pack<T>(s[0][0], s[0][1]), pack<T>(s[0][2], s[0][3]), pack<T>(s[1][0], s[1][1]),
                           pack<T>(s[1][2], s[1][3])};
#pragma unroll
    for (int c = 0; c < kWidth; c += 16) {
      if (c >= d) break;
      uint32_t b[4];
      ldmatrix_x4_transposed(b, v + lane() % 16 * kLayout.pitch + c + lane() / 16 * 8);
#pragma unroll
      for (int n = 0; n < 2; n++) {
        float(&sums)[4] = o[c / 8 + n];
#pragma unroll
        for (int i = 0; i < 4; i++) sums[i] *= shrink[i / 2];
        mma<T>(sums, p, b[2 * n], b[2 * n + 1]);
      }
    }
  }
  /// Where head h's value e lies: eight at a time change places, since the rows of a fragment would meet in a bank.
  static DEVICE_MEMBER int place(int h, int e) { return h * kWidth + (e ^ h % 4 * 8); }
  /// values [heads, kWidth], by place
  DEVICE_MEMBER void store(float *values, float *tops, float *sums, int heads) {
#pragma unroll
    for (int r = 0; r < 2; r++) {
      sum[r] += __shfl_xor_sync(kFullWarp, sum[r], 1);
      sum[r] += __shfl_xor_sync(kFullWarp, sum[r], 2);
      const int h = lane() / 4 + 8 * r;
      if (h >= heads) continue;
      if (lane() % 4 == 0) {
        tops[h] = top[r];
        sums[h] = sum[r];
      }
#pragma unroll
      for (int n = 0; n < kWidth / 8; n++) {
        store_vector(reinterpret_cast<float2 *>(values + place(h, n * 8 + lane() % 4 * 2)),
                     make_float2(o[n][2 * r], o[n][2 * r + 1]));
      }
    }
  }
};

/// Plain multiply-adds. Scores: four lanes for each of the 8 positions; values: this lane has column lane of each 32.
template <int kWidth>
struct Softmax<float, kWidth> {
  static constexpr Layout kLayout = layout(4, kWidth);
  static constexpr int kHeads = kLayout.heads;
  float o[kHeads][kWidth / 32] = {};
  float top[kHeads], sum[kHeads] = {};
  DEVICE_MEMBER Softmax() {
#pragma unroll
    for (int h = 0; h < kHeads; h++) top[h] = kNoKeyYet;
  }

  /// weights [heads,keys] of this warp
  DEVICE_MEMBER void add(const float *q, const float *k, float *weights, int d, int heads, float scale, int64_t from,
                         int64_t to) {
    const float *v = k + kLayout.keys * kLayout.pitch;
    const int j = lane() / 4;
    float s[kHeads] = {};
#pragma unroll 2
    for (int e = lane() % 4 * 4; e < d; e += 16) {
      const float4 y = load_vector(reinterpret_cast<const float4 *>(k + j * kLayout.pitch + e));
#pragma unroll
      for (int h = 0; h < kHeads; h++) {
        if (h >= heads) break;
        const float4 x = load_vector(reinterpret_cast<const float4 *>(q + h * kLayout.pitch + e));
        s[h] += x.x * y.x + x.y * y.y + x.z * y.z + x.w * y.w;
      }
    }
#pragma unroll
    for (int h = 0; h < kHeads; h++) {
      if (h >= heads) break;
      for (int step = 1; step <= 2; step *= 2) s[h] += __shfl_xor_sync(kFullWarp, s[h], step);
      const float score = j >= from && j < to ? s[h] * scale : -INFINITY;
      float best = fmaxf(top[h], score);
      for (int step = 4; step <= 16; step *= 2) best = fmaxf(best, __shfl_xor_sync(kFullWarp, best, step));
      const float shrink = exp2f(top[h] - best), weight = exp2f(score - best);
      top[h] = best;
      sum[h] = sum[h] * shrink + weight;
      if (lane() % 4 == 0) weights[h * kLayout.keys + j] = weight;
#pragma unroll
      for (int i = 0; i < kWidth / 32; i++) o[h][i] *= shrink;
    }
    __syncwarp();
    for (int n = 0; n < kLayout.keys; n++) {
#pragma unroll
      for (int i = 0; i < kWidth / 32; i++) {
        const float y = v[n * kLayout.pitch + i * 32 + lane()];
#pragma unroll
        for (int h = 0; h < kHeads; h++) {
          if (h >= heads) break;
          o[h][i] += weights[h * kLayout.keys + n] * y;
        }
      }
    }
  }
  static DEVICE_MEMBER int place(int h, int e) { return h * kWidth + e; }
  DEVICE_MEMBER void store(float *values, float *tops, float *sums, int heads) {
#pragma unroll
    for (int h = 0; h < kHeads; h++) {
      if (h >= heads) break;
      for (int step = 4; step <= 16; step *= 2) sum[h] += __shfl_xor_sync(kFullWarp, sum[h], step);
      if (lane() == 0) {
        tops[h] = top[h];
        sums[h] = sum[h];
      }
#pragma unroll
      for (int i = 0; i < kWidth / 32; i++) values[place(h, i * 32 + lane())] = o[h][i];
    }
  }
};

/// blockIdx.x: row, key head, part of the group; blockIdx.y: piece.
template <class T, int kWidth>
DEVICE void attend_piece(const Decode &x) {
  constexpr Layout kLayout = layout(sizeof(T), kWidth);
  const int64_t key_heads = x.cacheK.shape[2], b = blockIdx.x / x.group_parts / key_heads;
  const Span seen = positions(x, b);
  const int64_t start = static_cast<int64_t>(blockIdx.y) * kPiece;
  const Span piece = {start > seen.begin ? start : seen.begin, smaller(start + kPiece, seen.end)};
  if (piece.begin >= piece.end) return;  // the whole block
  const int64_t head = blockIdx.x / x.group_parts % key_heads, part = blockIdx.x % x.group_parts;
  const int64_t group = x.q.shape[1] / key_heads, first_head = head * group + part * kLayout.heads;
  const int heads = static_cast<int>(smaller(kLayout.heads, group - part * kLayout.heads));
  const int d = static_cast<int>(x.q.shape[2]);

  SHARED_DYNAMIC(memory);
  SHARED(float, weights, [kLayout.warps * kLayout.heads * kLayout.keys]);
  SHARED(float, tops, [kLayout.warps * kLayout.heads]);
  SHARED(float, sums, [kLayout.warps * kLayout.heads]);
  T *q = reinterpret_cast<T *>(memory), *tiles = q + kLayout.heads * kLayout.pitch + warp() * 2 * kLayout.tile;
  const Source<T, kWidth> source(x, b, head, piece);
  if (d < kWidth) {  // what lies beyond d stays zero
    for (int i = lane() * Source<T, kWidth>::kChunk; i < 2 * kLayout.tile; i += 32 * Source<T, kWidth>::kChunk) {
      store_vector(reinterpret_cast<uint4 *>(tiles + i), make_uint4(0, 0, 0, 0));
    }
    __syncwarp();
  }
  int64_t first = (piece.begin / kLayout.keys + warp()) * kLayout.keys;
  constexpr int kStride = kLayout.warps * kLayout.keys;
  if (first < piece.end) source.load(tiles, first);
  for (int i = threadIdx.x; i < kLayout.heads * kWidth; i += kLayout.warps * 32) {
    const int h = i / kWidth, e = i % kWidth;
    const T *row = x.q.row<T>(b) + first_head * d;
    q[h * kLayout.pitch + e] = h < heads && e < d ? row[h * d + e] : from_f32<T>(0.0f);
  }
  __syncthreads();
  Softmax<T, kWidth> softmax;
  for (int turn = 0; first < piece.end; first += kStride, turn ^= 1) {
    if (first + kStride < piece.end) {
      source.load(tiles + (turn ^ 1) * kLayout.tile, first + kStride);
      cp_async_wait<1>();
    } else {
      cp_async_wait<0>();
    }
    __syncwarp();
    softmax.add(q, tiles + turn * kLayout.tile, weights + warp() * kLayout.heads * kLayout.keys, d, heads, x.scale,
                piece.begin - first, piece.end - first);
    __syncwarp();  // the tile is free for the one after the next
  }
  __syncthreads();  // the tiles are over
  float *values = reinterpret_cast<float *>(memory);
  softmax.store(values + warp() * kLayout.heads * kWidth, tops + warp() * kLayout.heads, sums + warp() * kLayout.heads,
                heads);
  __syncthreads();
  const bool whole = first_piece(seen) == last_piece(seen);
  for (int h = 0; h < heads; h++) {
    float top = kNoKeyYet, sum = 0, factor[kLayout.warps];
#pragma unroll
    for (int w = 0; w < kLayout.warps; w++) top = fmaxf(top, tops[w * kLayout.heads + h]);
#pragma unroll
    for (int w = 0; w < kLayout.warps; w++) {
      factor[w] = exp2f(tops[w * kLayout.heads + h] - top);
      sum += sums[w * kLayout.heads + h] * factor[w];
    }
    const int64_t at = (b * x.q.shape[1] + first_head + h) * x.pieces + blockIdx.y;
    for (int e = threadIdx.x; e < d; e += kLayout.warps * 32) {
      float value = 0;
#pragma unroll
      for (int w = 0; w < kLayout.warps; w++)
        value += values[w * kLayout.heads * kWidth + Softmax<T, kWidth>::place(h, e)] * factor[w];
      if (whole) {
        x.o.row<T>(b)[(first_head + h) * d + e] = from_f32<T>(value / sum);
      } else {
        x.parts[at * d + e] = value;
      }
    }
    if (!whole && threadIdx.x == 0) {
      x.tops[at] = top;
      x.sums[at] = sum;
    }
  }
}

/// blockIdx.x: row and head.
template <class T>
DEVICE void merge_pieces(const Decode &x) {
  const int64_t heads = x.q.shape[1], d = x.q.shape[2], b = blockIdx.x / heads, h = blockIdx.x % heads;
  const Span seen = positions(x, b);
  if (seen.begin >= seen.end || first_piece(seen) == last_piece(seen)) return;
  const int64_t first = blockIdx.x * x.pieces + first_piece(seen), last = blockIdx.x * x.pieces + last_piece(seen);
  float top = kNoKeyYet, sum = 0;
  for (int64_t p = first; p <= last; p++) top = fmaxf(top, x.tops[p]);
  for (int64_t p = first; p <= last; p++) sum += x.sums[p] * exp2f(x.tops[p] - top);
  for (int64_t e = threadIdx.x; e < d; e += kThreads) {
    float value = 0;
    for (int64_t p = first; p <= last; p++) value += x.parts[p * d + e] * exp2f(x.tops[p] - top);
    x.o.row<T>(b)[h * d + e] = from_f32<T>(value / sum);
  }
}

#define ATTENTION_DECODE(T, WIDTH) \
  KERNEL(attention_decode_##T##_##WIDTH, layout(sizeof(T), WIDTH).warps * 32, Decode x) { attend_piece<T, WIDTH>(x); }
#define ATTENTION_DECODE_MERGE(T) \
  ATTENTION_DECODE(T, 64)         \
  ATTENTION_DECODE(T, 128)        \
  KERNEL(attention_decode_merge_##T, kThreads, Decode x) { merge_pieces<T>(x); }
FOR_FLOATS(ATTENTION_DECODE_MERGE)
ATTENTION_DECODE_MERGE(f16)
ATTENTION_DECODE(f32, 256)
ATTENTION_DECODE(bf16, 256)

#else

void attention_decode(Device &device, View o, View q, View cacheK, View cacheV, View slots, View lengths, float scale,
                      int32_t window) {
  CudaDevice &g = gpu(device);
  const int64_t heads = q.shape[1], d = q.shape[2], key_heads = cacheK.shape[2];
  const int64_t capacity = slots.cols() * cacheK.shape[1];
  const int most = q.dtype == RL_F16 ? 128 : 256;  // as attention has them
  if (d > most) {
    fail(RL_UNSUPPORTED, "q: the cuda backend has heads of up to %d columns%s, found %lld", most,
         q.dtype == RL_F16 ? " in f16" : "", static_cast<long long>(d));
  }
  check_indices(g, "attention_decode", "slots", slots, cacheK.shape[0]);
  check_indices(g, "attention_decode", "lengths", lengths, capacity + 1, 1);
  // The lengths are on the GPU: blocks for all that the slots can hold, and those past the end leave at once.
  const int64_t pieces = ceil_div(capacity, kPiece), rows = q.rows() * heads;
  const int width = d > 128 ? 256 : d > 64 ? 128 : 64;
  const Layout l = layout(static_cast<int>(dtype_size(q.dtype)), width);
  Decode x{o,
           q,
           cacheK,
           cacheV,
           slots,
           lengths,
           nullptr,
           nullptr,
           nullptr,
           pieces,
           ceil_div(heads / key_heads, l.heads),
           scale * 1.44269504088896341f,
           window};
  if (pieces > 1) {
    x.parts = g.scratch<float>(rows * pieces * d);
    x.tops = g.scratch<float>(rows * pieces);
    x.sums = g.scratch<float>(rows * pieces);
  }
  g.launch(kernel_name("attention_decode", {q.dtype}) + "_" + std::to_string(width),
           Grid{q.rows() * key_heads * x.group_parts, pieces, l.warps * 32, l.bytes}, x);
  if (pieces > 1) g.launch(kernel_name("attention_decode_merge", {q.dtype}), by_row(rows, kThreads), x);
}

#endif

}  // namespace rl::cuda
