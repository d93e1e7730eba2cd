// One new query per row against a cache: o[b] = softmax(scale q[b] K^T) V over the row's slot.  o (=)
// A sequence is cut into pieces of kPiece positions, a block for each (flash decoding, Dao et al. 2023): scores and their
// largest, the sum of exponentials and of values; a second kernel merges the pieces in order, so bits do not vary.
// Traffic: the cache is read once for each query head; heads of a group meet in the L2 cache, not in shared memory yet.
#include "cuda/op.h"
#if !defined(RL_KERNELS)
#include "cuda/indices.h"
#endif

namespace rl::cuda {

constexpr int kThreads = 128;
constexpr int kPiece = 256;

/// What both kernels want to know. parts f32 [rows,heads,pieces,d], tops and sums f32 [rows,heads,pieces].
struct Decode {
  View o, q, cacheK, cacheV, slots, lengths;
  float *parts, *tops, *sums;
  int64_t pieces;
  float scale;
  int32_t window;
};

#if defined(RL_KERNELS)

/// The positions that row b sees; none if its slot or length is wrong.
DEVICE Span positions(const Decode &x, int64_t b) {
  const int64_t length = x.lengths.i32()[b], capacity = x.cacheK.shape[1];
  if (index_at(x.slots.i32(), b, x.cacheK.shape[0]) < 0 || length < 1 || length > capacity) return {0, 0};
  return {x.window > 0 && length > x.window ? length - x.window : 0, length};
}

DEVICE float block_max(float x) {
  SHARED(float, tops, [kThreads / 32]);
  for (int step = 16; step > 0; step /= 2) x = fmaxf(x, __shfl_xor_sync(kFullWarp, x, step));
  if (lane() == 0) tops[warp()] = x;
  __syncthreads();
  for (int w = 0; w < kThreads / 32; w++) x = fmaxf(x, tops[w]);
  return x;
}

/// blockIdx.x: row and head; blockIdx.y: piece.
template <class T>
DEVICE void attend_piece(const Decode &x) {
  const int64_t heads = x.q.shape[1], d = x.q.shape[2], b = blockIdx.x / heads, h = blockIdx.x % heads;
  const Span seen = positions(x, b);
  const int64_t start = static_cast<int64_t>(blockIdx.y) * kPiece;
  const int64_t begin = start > seen.begin ? start : seen.begin, end = smaller(start + kPiece, seen.end);
  if (begin >= end) return;  // the same for the whole block
  const int64_t kvHeads = x.cacheK.shape[2], head = h / (heads / kvHeads), step = kvHeads * d;
  const T *q = x.q.row<T>(b) + h * d;
  const T *k = x.cacheK.row<T>(x.slots.i32()[b]) + head * d, *v = x.cacheV.row<T>(x.slots.i32()[b]) + head * d;
  SHARED(float, weights, [kPiece]);

  float top = -INFINITY;
  for (int64_t j = begin + warp(); j < end; j += kThreads / 32) {  // a warp for each position
    float dot = 0;
    for (int64_t e = lane(); e < d; e += 32) dot += to_f32(q[e]) * to_f32(k[j * step + e]);
    for (int s = 16; s > 0; s /= 2) dot += __shfl_xor_sync(kFullWarp, dot, s);
    dot *= x.scale;
    top = fmaxf(top, dot);
    if (lane() == 0) weights[j - begin] = dot;
  }
  top = block_max(top);  // its barrier makes the scores visible, too
  float sum = 0;
  for (int64_t j = threadIdx.x; j < end - begin; j += kThreads) {
    const float weight = expf(weights[j] - top);
    weights[j] = weight;
    sum += weight;
  }
  sum = block_sum(sum);
  const int64_t part = blockIdx.x * x.pieces + blockIdx.y;
  for (int64_t e = threadIdx.x; e < d; e += kThreads) {  // a thread for each column
    float value = 0;
    for (int64_t j = begin; j < end; j++) value += weights[j - begin] * to_f32(v[j * step + e]);
    x.parts[part * d + e] = value;
  }
  if (threadIdx.x == 0) {
    x.tops[part] = top;
    x.sums[part] = sum;
  }
}

/// blockIdx.x: row and head.
template <class T>
DEVICE void merge_pieces(const Decode &x) {
  const int64_t heads = x.q.shape[1], d = x.q.shape[2], b = blockIdx.x / heads, h = blockIdx.x % heads;
  const Span seen = positions(x, b);
  if (seen.begin >= seen.end) return;
  const int64_t first = blockIdx.x * x.pieces + seen.begin / kPiece,
                last = blockIdx.x * x.pieces + (seen.end - 1) / kPiece;
  float top = -INFINITY, sum = 0;
  for (int64_t p = first; p <= last; p++) top = fmaxf(top, x.tops[p]);
  for (int64_t p = first; p <= last; p++) sum += x.sums[p] * expf(x.tops[p] - top);
  for (int64_t e = threadIdx.x; e < d; e += kThreads) {
    float value = 0;
    for (int64_t p = first; p <= last; p++) value += x.parts[p * d + e] * expf(x.tops[p] - top);
    x.o.row<T>(b)[h * d + e] = from_f32<T>(value / sum);
  }
}

#define ATTENTION_DECODE(T)                                                       \
  KERNEL(attention_decode_pieces_##T, kThreads, Decode x) { attend_piece<T>(x); } \
  KERNEL(attention_decode_merge_##T, kThreads, Decode x) { merge_pieces<T>(x); }
FOR_FLOATS(ATTENTION_DECODE)

#else

void attention_decode(Device &device, View o, View q, View cacheK, View cacheV, View slots, View lengths, float scale,
                      int32_t window) {
  CudaDevice &g = gpu(device);
  check_indices(g, "attention_decode", "slots", slots, cacheK.shape[0]);
  check_indices(g, "attention_decode", "lengths", lengths, cacheK.shape[1] + 1, 1);
  // The lengths are on the GPU: blocks for all that the cache can hold, and those past the end leave at once.
  const int64_t pieces = ceil_div(cacheK.shape[1], kPiece), rows = q.rows() * q.shape[1];
  float *parts = g.scratch<float>(rows * pieces * q.shape[2]), *tops = g.scratch<float>(rows * pieces);
  float *sums = g.scratch<float>(rows * pieces);
  const Decode x{o, q, cacheK, cacheV, slots, lengths, parts, tops, sums, pieces, scale, window};
  g.launch(kernel_name("attention_decode_pieces", {q.dtype}), Grid{rows, pieces, kThreads}, x);
  g.launch(kernel_name("attention_decode_merge", {q.dtype}), by_row(rows, kThreads), x);
}

#endif

}  // namespace rl::cuda
