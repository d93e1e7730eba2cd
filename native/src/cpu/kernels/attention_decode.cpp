// One new query per row against a cache: o[b] = softmax(scale q[b] K^T) V over the row's pages, the softmax streamed by
// blocks of positions, each within a page.  o (=) The time goes into reading the cache, which is read once, as it lies: all heads of a
// position together, and the query heads of a group share a key. Long rows are cut into pieces, so that a few of them
// keep every thread busy; the pieces' sums are merged in order.
#include <omp.h>

#include "cpu/kernels/f16.h"
#include "cpu/kernels/indices.h"
#include "cpu/kernels/tile.h"

namespace rl::cpu::RL_ISA {
namespace {

constexpr int64_t kKeys = 32;                // positions of a block
constexpr int64_t kPiece = 256;              // positions of a work item
constexpr int kSide = kWidth == 16 ? 4 : 2;  // vectors of columns that are summed side by side
constexpr int64_t kAhead = 8;                // rows of K that are prefetched before their turn
constexpr float kNoKeyYet = -1e30f;
constexpr float kLog2e = 1.44269504088896341f;

struct Problem {
  View o, q, cacheK, cacheV;
  const int32_t *slots, *lengths;
  int64_t pages, page_size;  // slots of a row, positions of a slot
  int64_t heads, kvHeads, group, d, dp, pieces;
  float scale;
  int64_t window;
};

template <class T>
RL_INLINE void load_row(float *out, const T *in, int64_t d, int64_t dp, float factor) {
  scale_row(out, in, d, factor);
  for (int64_t c = d; c < dp; c++) out[c] = 0;
}

/// out[j] = dot product of q and row j of x, j < kWidth; rows of dp.
RL_INLINE void dots(float *out, const float *q, const float *x, int64_t dp) {
  vecf sums[kWidth];
  vecf y = load(q);
#pragma GCC unroll 16
  for (int j = 0; j < kWidth; j++) sums[j] = y * load(x + j * dp);
  for (int64_t c = kWidth; c < dp; c += kWidth) {
    y = load(q + c);
#pragma GCC unroll 16
    for (int j = 0; j < kWidth; j++) sums[j] += y * load(x + j * dp + c);
  }
  store(out, sums_of(sums));
}

/// SIDE vectors of columns of add_values().
template <int G, int SIDE, class T>
RL_INLINE void add_columns(float *o, const float *shrink, const float *weights, const T *values, int64_t step,
                           int64_t n, int64_t dp) {
  vecf sums[G][SIDE];
#pragma GCC unroll 4
  for (int g = 0; g < G; g++) {
#pragma GCC unroll 4
    for (int v = 0; v < SIDE; v++) sums[g][v] = load(o + g * dp + v * kWidth) * shrink[g];
  }
  for (int64_t j = 0; j < n; j++) {
    vecf x[SIDE];
#pragma GCC unroll 4
    for (int v = 0; v < SIDE; v++) x[v] = load(values + j * step + v * kWidth);
#pragma GCC unroll 4
    for (int g = 0; g < G; g++) {
#pragma GCC unroll 4
      for (int v = 0; v < SIDE; v++) sums[g][v] += weights[g * kKeys + j] * x[v];
    }
  }
#pragma GCC unroll 4
  for (int g = 0; g < G; g++) {
#pragma GCC unroll 4
    for (int v = 0; v < SIDE; v++) store(o + g * dp + v * kWidth, sums[g][v]);
  }
}

/// o[g,:] = o[g,:] * shrink[g] + sum over n positions of weights[g,j] * values[j,:], for G heads.
template <int G, class T>
RL_INLINE void add_values(float *o, const float *shrink, const float *weights, const T *values, int64_t step, int64_t n,
                          int64_t d, int64_t dp) {
  int64_t c = 0;
  for (; c + kSide * kWidth <= d; c += kSide * kWidth) {
    add_columns<G, kSide>(o + c, shrink, weights, values + c, step, n, dp);
  }
  for (; c + kWidth <= d; c += kWidth) add_columns<G, 1>(o + c, shrink, weights, values + c, step, n, dp);
  for (; c < d; c++) {
    for (int g = 0; g < G; g++) {
      float sum = o[g * dp + c] * shrink[g];
      for (int64_t j = 0; j < n; j++) sum += weights[g * kKeys + j] * to_f32(values[j * step + c]);
      o[g * dp + c] = sum;
    }
  }
}

/// body(first head, constant number of heads) for all of a group: by fours, threes, twos and ones.
template <class Body>
RL_INLINE void by_heads(int64_t group, Body &&body) {
  int64_t g = 0;
  for (; g + 4 <= group; g += 4) body.template operator()<4>(g);
  if (group - g == 3) body.template operator()<3>(g);
  if (group - g == 2) body.template operator()<2>(g);
  if (group - g == 1) body.template operator()<1>(g);
}

/// A block of n positions of one key head: the step of the streaming softmax for the heads of its group.
template <class T>
RL_INLINE void attend(const Problem &p, const float *k, const T *values, int64_t n, float *o, float *top, float *sum,
                      const float *q, float *weights, float *shrink) {
  const int64_t group = p.group, d = p.d, dp = p.dp, step = p.kvHeads * d;
  for (int64_t j = 0; j < n; j += kWidth) {  // rows of k beyond n hold older keys
    for (int64_t g = 0; g < group; g++) dots(weights + g * kKeys + j, q + g * dp, k + j * dp, dp);
  }
  for (int64_t g = 0; g < group; g++) {
    float *w = weights + g * kKeys;
    for (int64_t j = n; j < kKeys; j++) w[j] = 2 * kNoKeyYet;  // whose power of 2 is 0
    vecf most = load(w);
    for (int64_t j = kWidth; j < kKeys; j += kWidth) most = greater(load(w + j), most);
    float best = top[g];
    for (int j = 0; j < kWidth; j++) best = most[j] > best ? most[j] : best;
    vecf total{};
    for (int64_t j = 0; j < kKeys; j += kWidth) {
      const vecf e = exp2_vec(load(w + j) - best);
      store(w + j, e);
      total += e;
    }
    shrink[g] = exp2_vec(broadcast(top[g] - best))[0];
    sum[g] = sum[g] * shrink[g] + sum_of(total);
    top[g] = best;
  }
  by_heads(group, [&]<int G>(int64_t g) {
    add_values<G>(o + g * dp, shrink + g, weights + g * kKeys, values, step, n, d, dp);
  });
}

/// Positions [from, to) of row b: o [heads,dp] unnormalised, top and sum [heads] in powers of 2.
template <class T>
void sweep(const Problem &p, int64_t b, int64_t from, int64_t to, float *o, float *top, float *sum, float *scratch) {
  const int64_t group = p.group, d = p.d, dp = p.dp, step = p.kvHeads * d;
  float *k = scratch, *q = k + p.kvHeads * kKeys * dp, *weights = q + p.heads * dp, *shrink = weights + group * kKeys;
  __builtin_memset(k, 0, static_cast<size_t>(p.kvHeads * kKeys * dp) * sizeof(float));
  __builtin_memset(o, 0, static_cast<size_t>(p.heads * dp) * sizeof(float));
  for (int64_t g = 0; g < p.heads; g++) {
    load_row(q + g * dp, p.q.row<T>(b) + g * d, d, dp, p.scale * kLog2e);
    top[g] = kNoKeyYet;
    sum[g] = 0;
  }
  for (int64_t n; from < to; from += n) {
    const int64_t slot = p.slots[b * p.pages + from / p.page_size], inside = from % p.page_size;
    const T *keys = p.cacheK.row<T>(slot) + inside * step, *values = p.cacheV.row<T>(slot) + inside * step;
    n = to - from < kKeys ? to - from : kKeys;
    n = p.page_size - inside < n ? p.page_size - inside : n;
    for (int64_t j = 0; j < n; j++) {
      for (int64_t h = 0; h < p.kvHeads; h++) {
        const T *key = keys + j * step + h * d, *value = values + j * step + h * d;
        for (int64_t c = 0; c < d; c += 64 / static_cast<int64_t>(sizeof(T))) {
          __builtin_prefetch(key + kAhead * step + c);
          __builtin_prefetch(value + c);  // wanted after the softmax
        }
        load_row(k + (h * kKeys + j) * dp, key, d, dp, 1.0f);
      }
    }
    for (int64_t h = 0; h < p.kvHeads; h++) {
      attend<T>(p, k + h * kKeys * dp, values + h * d, n, o + h * group * dp, top + h * group, sum + h * group,
                q + h * group * dp, weights, shrink);
    }
  }
}

/// o of one row from its pieces' sums.
template <class T>
void merge(const Problem &p, int64_t b, int64_t pieces, const float *o, const float *top, const float *sum) {
  for (int64_t h = 0; h < p.heads; h++) {
    float best = top[h], total = 0;
    for (int64_t i = 1; i < pieces; i++) best = top[i * p.heads + h] > best ? top[i * p.heads + h] : best;
    for (int64_t i = 0; i < pieces; i++) {
      total += sum[i * p.heads + h] * exp2_vec(broadcast(top[i * p.heads + h] - best))[0];
    }
    T *out = p.o.row<T>(b) + h * p.d;
    if (pieces == 1) {
      scale_row(out, o + h * p.dp, p.d, 1.0f / total);
      continue;
    }
    for (int64_t c = 0; c < p.d; c++) {
      float x = 0;
      for (int64_t i = 0; i < pieces; i++) {
        x += o[(i * p.heads + h) * p.dp + c] * exp2_vec(broadcast(top[i * p.heads + h] - best))[0];
      }
      out[c] = from_f32<T>(x / total);
    }
  }
}

template <class T>
void decode(const Problem &p, int64_t rows, int threads, bool parallel, float *o, float *top, float *sum,
            float *scratch, int64_t per_thread) {
  const int64_t size = p.heads * p.dp;
#pragma omp parallel num_threads(threads) if (parallel)
  {
    float *own = scratch + per_thread * omp_get_thread_num();
#pragma omp for schedule(dynamic, 1)
    for (int64_t w = 0; w < rows * p.pieces; w++) {
      const int64_t b = w / p.pieces, length = p.lengths[b];
      const int64_t begin = p.window > 0 && length > p.window ? length - p.window : 0;
      const int64_t from = begin + w % p.pieces * kPiece;
      if (from >= length) continue;
      const int64_t to = length - from < kPiece ? length : from + kPiece;
      sweep<T>(p, b, from, to, o + w * size, top + w * p.heads, sum + w * p.heads, own);
      if (p.pieces == 1) merge<T>(p, b, 1, o + w * size, top + w * p.heads, sum + w * p.heads);
    }
    if (p.pieces > 1) {
#pragma omp for schedule(static)
      for (int64_t b = 0; b < rows; b++) {
        const int64_t length = p.lengths[b], first = b * p.pieces;
        const int64_t seen = p.window > 0 && length > p.window ? p.window : length;
        merge<T>(p, b, (seen + kPiece - 1) / kPiece, o + first * size, top + first * p.heads, sum + first * p.heads);
      }
    }
  }
}

}  // namespace

void attention_decode(Device &device, View o, View q, View cacheK, View cacheV, View slots, View lengths, float scale,
                      int32_t window) {
  check_indices("slots", slots, cacheK.shape[0]);
  const int64_t rows = q.rows(), capacity = slots.cols() * cacheK.shape[1];
  int64_t total = 0, longest = 1;
  for (int64_t b = 0; b < rows; b++) {
    const int32_t n = lengths.i32()[b];
    if (n < 1 || n > capacity) {
      fail(RL_INVALID_ARGUMENT, "lengths[%lld] is %d, expected 1 to %lld", static_cast<long long>(b), n,
           static_cast<long long>(capacity));
    }
    const int64_t seen = window > 0 && n > window ? window : n;
    total += seen;
    longest = seen > longest ? seen : longest;
  }
  Problem p{};
  p.o = o;
  p.q = q;
  p.cacheK = cacheK;
  p.cacheV = cacheV;
  p.slots = slots.i32();
  p.lengths = lengths.i32();
  p.pages = slots.cols();
  p.page_size = cacheK.shape[1];
  p.kvHeads = cacheK.shape[2];
  p.heads = q.shape[1];
  p.group = p.heads / p.kvHeads;
  p.d = q.shape[2];
  p.dp = (p.d + kWidth - 1) / kWidth * kWidth;
  p.pieces = (longest + kPiece - 1) / kPiece;
  p.scale = scale;
  p.window = window;
  const int threads = cpu(device).threads();
  const int64_t items = rows * p.pieces;
  const int64_t per_thread = (p.kvHeads * kKeys * p.dp + p.heads * p.dp + p.group * (kKeys + 1) + 15) / 16 * 16;
  float *sums = cpu(device).scratch<float>(items * p.heads * p.dp);
  float *top = cpu(device).scratch<float>(items * p.heads), *sum = cpu(device).scratch<float>(items * p.heads);
  float *scratch = cpu(device).scratch<float>(per_thread * threads);
  const bool parallel = total * p.heads * p.d > 65536;
  with_float_or_f16(q.dtype, [&](auto type) {
    decode<decltype(type)>(p, rows, threads, parallel, sums, top, sum, scratch, per_thread);
  });
}

}  // namespace rl::cpu::RL_ISA
